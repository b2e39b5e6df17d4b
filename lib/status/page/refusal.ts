import { html } from "../../html/markup.ts";
import { wholePage } from "../../html/page.ts";
import { style } from "./style.ts";

/** For who comes without the token, or with a wrong one. A link from another site brings no cookie; one from here does. */
export function refusalPage(): string {
  return wholePage({
    title: "Not allowed",
    style,
    script: "",
    body: html`<main><h1>Not allowed</h1>
<p>Open the address that <code>pgkeep status --serve</code> printed: it has the token.</p>
<p>You did already, and came here by a link? <a href="/">Go on to the status</a>.</p></main>`,
  });
}
