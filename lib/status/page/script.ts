/**
 * Keeps the page current: asks for what changed, and puts only that into the page, so that focus, opened details and
 * the place of reading stay. Without it the page is loaded again as a whole.
 */
export const script = `
"use strict";
(() => {
  const main = document.getElementById("sections");
  const gone = document.getElementById("gone");
  const announce = document.getElementById("announce");
  const pause = document.getElementById("pause");
  const every = Number(main.dataset.every) * 1000;
  /** Longer than any part of a collection may take. */
  const patience = 20000;
  let summary = main.dataset.summary;
  let at = main.dataset.at;
  let failures = 0;
  let paused = false;
  let timer;

  const keyOf = (node) => (node.nodeType === 1 ? node.getAttribute("data-key") : null);
  const fits = (one, other) =>
    one.nodeType === other.nodeType && one.nodeName === other.nodeName && keyOf(one) === keyOf(other);

  function attributes(from, to) {
    for (const { name, value } of to.attributes) {
      if (from.getAttribute(name) !== value) from.setAttribute(name, value);
    }
    for (const name of from.getAttributeNames()) {
      // What the reader has opened stays open.
      if (!to.hasAttribute(name) && !(name === "open" && from.nodeName === "DETAILS")) from.removeAttribute(name);
    }
  }

  /** Makes the children of one element those of another, and keeps the nodes that fit. */
  function children(from, to) {
    const all = [...to.childNodes];
    const keys = new Set(all.map(keyOf));
    keys.delete(null);
    let next = from.firstChild;
    for (const wanted of all) {
      let found = next;
      while (found !== null && !fits(found, wanted)) found = found.nextSibling;
      // Without a key, only a neighbour is the same one.
      if (found !== null && found !== next && keyOf(wanted) === null) found = null;
      if (found === null) {
        from.insertBefore(wanted, next);
        continue;
      }
      while (next !== found && !keys.has(keyOf(next))) {
        const passed = next;
        next = next.nextSibling;
        passed.remove();
      }
      // What stands in between comes later.
      if (next === found) next = found.nextSibling;
      else from.insertBefore(found, next);
      if (found.isEqualNode(wanted)) continue;
      if (found.nodeType === 3) found.data = wanted.data;
      else {
        attributes(found, wanted);
        children(found, wanted);
      }
    }
    while (next !== null) {
      const passed = next;
      next = next.nextSibling;
      passed.remove();
    }
  }

  function show(changes) {
    for (const [id, content] of Object.entries(changes.content)) {
      const element = document.getElementById(id);
      const template = document.createElement("template");
      template.innerHTML = content;
      if (element !== null) children(element, template.content);
    }
    document.title = changes.title;
    if (changes.summary !== summary) announce.textContent = changes.summary;
    summary = changes.summary;
    at = changes.at;
  }

  function answered() {
    failures = 0;
    if (!document.body.classList.contains("gone")) return;
    document.body.classList.remove("gone");
    gone.replaceChildren();
    announce.textContent = "The page is current again. " + summary;
  }

  function failed(reason, certainly) {
    failures += 1;
    // One answer that was lost on the way is no news.
    if (failures < 2 && !certainly) return;
    document.body.classList.add("gone");
    const text = reason + " What follows is of " + at.slice(0, 10) + " " + at.slice(11, 19) + " UTC.";
    if (gone.textContent !== text) gone.textContent = text;
  }

  async function ask() {
    try {
      const response = await fetch("/changes.json", { cache: "no-store", signal: AbortSignal.timeout(patience) });
      if (response.ok) {
        show(await response.json());
        answered();
      } else if (response.status === 401) {
        failed("This page is no longer allowed to ask: open the address that pgkeep printed again.");
      } else failed("The server of this page answers with an error (" + response.status + ").");
    } catch (error) {
      failed("The server of this page does not answer: pgkeep has ended, or the network is gone.", error.name === "TimeoutError");
    }
    later();
  }

  function later() {
    clearTimeout(timer);
    if (!paused && !document.hidden) timer = setTimeout(ask, every);
  }

  pause.hidden = false;
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.textContent = paused ? "Go on" : "Pause";
    document.body.classList.toggle("paused", paused);
    if (paused) clearTimeout(timer);
    else void ask();
  });
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && !paused) {
      clearTimeout(timer);
      void ask();
    }
  });
  later();
})();
`;
