import { baseStyle } from "../../html/style.ts";

/** Beside what every page has: tasks, filters, examples and pictures. */
export const style = `${baseStyle}
.change { color: var(--low); background: var(--low-ground); } .change.fixed { color: var(--good); background: var(--good-ground); }
.change.new { color: var(--high); background: var(--high-ground); }
.tasks { padding-left: 2.2rem; } .tasks li { padding: .3rem 0 .3rem .3rem; } .tasks li::marker { color: var(--quiet); }
#filters { display: flex; flex-wrap: wrap; align-items: end; gap: .75rem 1.25rem; padding: .9rem 1rem; margin-bottom: 1rem;
  background: var(--sunk); border-radius: 6px; }
#filters fieldset { display: flex; flex-wrap: wrap; gap: .25rem 1rem; border: 0; padding: 0; margin: 0; min-width: 0; }
#filters legend, #filters > label { font-size: .875rem; color: var(--quiet); padding: 0; }
#filters fieldset label { display: inline-flex; gap: .35rem; align-items: center; color: var(--text); min-height: 1.9rem; }
#filters select, #filters input[type=search] { display: block; font: inherit; color: var(--text); background: var(--raised);
  border: 1px solid var(--quiet); border-radius: 4px; padding: .25rem .5rem; min-height: 2.1rem; max-width: 100%; }
#filters input[type=checkbox] { width: 1.05rem; height: 1.05rem; margin: 0; accent-color: var(--link); }
#filters .text { flex: 1 1 14rem; } #filters input[type=search] { width: 100%; } ::placeholder { color: var(--quiet); opacity: 1; }
button { font: inherit; font-size: .9rem; color: var(--text); background: var(--raised); border: 1px solid var(--quiet); border-radius: 4px;
  padding: .25rem .75rem; min-height: 2.1rem; cursor: pointer; }
button:hover { border-color: var(--link); color: var(--link); }
#shown { margin: 0; flex-basis: 100%; font-size: .9rem; }
.sides { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(24rem, 100%), 1fr)); gap: 0 1rem; } .sides > div { min-width: 0; }
.legend { font-size: .875rem; color: var(--quiet); margin: .3rem 0; } .key { display: inline-block; width: .8rem; height: .8rem; border-radius: 2px; margin: 0 .35rem 0 .9rem; }
.key:first-child { margin-left: 0; } .key.a { background: var(--a); } .key.b { background: var(--b); } .key.c { background: var(--c); }
figure { margin: 1rem 0; } figcaption { font-size: .875rem; color: var(--quiet); } .line { display: block; width: 100%; max-width: 52rem; height: auto; }
.line text { fill: var(--quiet); font-size: 12px; } .grid { stroke: var(--rule); } .area { fill: var(--area); } .stroke { fill: none; stroke: var(--a); stroke-width: 2; }
.values summary, .rest > summary { font-size: .9rem; color: var(--link); margin: .3rem 0; } .values table { width: auto; }
`;
