import { baseStyle } from "../../html/style.ts";

/** Beside what every page has: states, and what is no longer so. */
export const style = `${baseStyle}
h1 { margin-top: 1.5rem; } h2 { margin-top: 2.25rem; } .entry:target { background: var(--medium-ground); }
.mark { display: inline-block; padding: 0 .5em; border-radius: 3px; font-size: .875rem; font-weight: 600; line-height: 1.6;
  border: 1px solid transparent; color: var(--low); background: var(--low-ground); }
.mark.good { color: var(--good); background: var(--good-ground); } .mark.bad { color: var(--critical); background: var(--critical-ground); }
.mark.doubtful { color: var(--high); background: var(--high-ground); }
.verdict { margin: .9rem 0 .4rem; } .verdict .mark { font-size: 1.05rem; margin-right: .35rem; }
.live { color: var(--quiet); font-size: .875rem; font-variant-numeric: tabular-nums; }
button { font: inherit; font-size: .875rem; color: var(--text); background: var(--raised); border: 1px solid var(--quiet); border-radius: 4px;
  padding: .1rem .7rem; min-height: 1.9rem; cursor: pointer; margin-left: .5rem; }
button:hover { border-color: var(--link); color: var(--link); }
#gone:not(:empty) { margin: .75rem 0; border-left: 4px solid var(--critical); background: var(--critical-ground); color: var(--text);
  padding: .6rem .9rem; border-radius: 3px; }
body.gone main { border-left: 4px solid var(--critical); padding-left: .75rem; }
.past { border-left: 3px solid var(--rule); padding-left: .75rem; }
.finding.past { border-left-width: 1px; padding-left: 0; }
.remedy { display: block; } td .about, th .about { display: block; white-space: normal; } .rest { margin: .75rem 0; }
td.words { min-width: 7rem; overflow-wrap: anywhere; } .finding summary .about { padding-left: .3rem; }
@media (max-width: 40rem) {
  body { padding: 0 .75rem 3rem; } h1 { font-size: 1.5rem; } th, td { padding: .3rem .4rem; } tbody th { min-width: 8rem; }
  thead td, td:has(.bar) { display: none; }
}
@media (forced-colors: active) { .mark { border-color: currentColor; } }
@media print { .live button, #gone { display: none; } .mark { border-color: currentColor; } }
`;
