/** The page's script: filters, opening what a link leads to, and paper. Without it everything is there, and closed. */
export const script = `
"use strict";
(() => {
  const form = document.getElementById("filters");
  const shown = document.getElementById("shown");
  const nothing = document.getElementById("nothing");
  const items = [...document.querySelectorAll("#groups .finding")].map((element) => ({
    element,
    severity: element.dataset.severity,
    area: element.dataset.area,
    change: element.dataset.change,
    text: undefined,
  }));
  const groups = [...document.querySelectorAll("#groups .group")].map((element) => ({
    element,
    count: element.querySelector("h3 .count"),
    items: items.filter((item) => element.contains(item.element)),
  }));

  const past = (item) => item.change === "fixed" || item.change === "unknown";
  const total = items.filter((item) => !past(item)).length;

  function matches(item, wanted) {
    if (!wanted.severities.includes(item.severity)) return false;
    if (wanted.area !== "" && item.area !== wanted.area) return false;
    if (wanted.change !== "" && item.change !== wanted.change) return false;
    if (wanted.words.length === 0) return true;
    item.text ??= item.element.textContent.toLowerCase();
    return wanted.words.every((word) => item.text.includes(word));
  }

  function apply() {
    const data = new FormData(form);
    const wanted = {
      severities: data.getAll("severity"),
      area: data.get("area") ?? "",
      change: data.get("change") ?? "",
      words: String(data.get("text") ?? "").toLowerCase().split(/\\s+/).filter((word) => word !== ""),
    };
    let now = 0;
    let before = 0;
    for (const group of groups) {
      let inGroup = 0;
      for (const item of group.items) {
        const visible = matches(item, wanted);
        if (item.element.hidden === visible) item.element.hidden = !visible;
        if (!visible) continue;
        inGroup += 1;
        if (past(item)) before += 1;
        else now += 1;
      }
      group.element.hidden = inGroup === 0;
      group.count.textContent = inGroup === group.items.length ? String(inGroup) : inGroup + " of " + group.items.length;
    }
    nothing.hidden = now + before > 0;
    const text = "Showing " + now + " of " + total + (total === 1 ? " finding" : " findings") +
      (total === items.length ? "." : ", and " + before + " of " + (items.length - total) + " that are only in the earlier review.");
    if (shown.textContent !== text) shown.textContent = text;
  }

  let waiting;
  function soon() {
    clearTimeout(waiting);
    waiting = setTimeout(apply, 120);
  }

  function follow() {
    const target = location.hash.length > 1 ? document.getElementById(location.hash.slice(1)) : null;
    if (target === null || !target.classList.contains("finding")) return;
    if (target.hidden) {
      form.reset();
      apply();
    }
    const details = target.querySelector("details");
    details.open = true;
    details.querySelector("summary").focus({ preventScroll: true });
    target.scrollIntoView();
  }

  function toggle(open) {
    for (const { element } of items) {
      const details = element.hidden ? null : element.querySelector("details");
      if (details !== null) details.open = open;
    }
  }

  if (items.length > 0) {
    form.hidden = false;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      apply();
    });
    form.addEventListener("input", (event) => (event.target.name === "text" ? soon() : apply()));
    form.addEventListener("reset", () => setTimeout(apply));
    document.getElementById("open").addEventListener("click", () => toggle(true));
    document.getElementById("close").addEventListener("click", () => toggle(false));
    apply();
  }
  addEventListener("hashchange", follow);
  for (const link of document.querySelectorAll(".tasks a")) {
    link.addEventListener("click", () => setTimeout(follow));
  }
  follow();

  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll(".finding:not([hidden]) > details:not([open])")];
    for (const details of opened) details.open = true;
  });
  addEventListener("afterprint", () => {
    for (const details of opened) details.open = false;
    opened = [];
  });
})();
`;
