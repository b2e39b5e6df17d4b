/**
 * The style of every page. Pairs of text and ground have a contrast of 4.5 at least in both schemes; colour is never
 * the only sign of anything. Paper is always light.
 */
export const baseStyle = `
:root {
  color-scheme: light dark;
  --ground: #fbfbf9; --raised: #ffffff; --sunk: #f1f2f0; --text: #1e2328; --quiet: #545d66; --rule: #d9dcd8;
  --link: #1d5192; --focus: #1d5192;
  --critical: #8c1420; --critical-ground: #fbe4e4; --high: #8a3d00; --high-ground: #fdebd8;
  --medium: #6a5200; --medium-ground: #faf0cb; --low: #3d5163; --low-ground: #e7edf2;
  --good: #1d5e37; --good-ground: #e0f1e5; --a: #2f6aa8; --b: #4d8a4f; --c: #b0602a; --area: #d9e5f2;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --ground: #14171a; --raised: #1c2024; --sunk: #23282d; --text: #e4e6e8; --quiet: #a3acb5; --rule: #363d44;
    --link: #8dbcf2; --focus: #8dbcf2;
    --critical: #ffb3b3; --critical-ground: #561b21; --high: #ffc48c; --high-ground: #4c2c0e;
    --medium: #efd779; --medium-ground: #41370d; --low: #b9cadb; --low-ground: #2b3742;
    --good: #96dcae; --good-ground: #173b26; --a: #5b97d6; --b: #67a769; --c: #d28a50; --area: #22364b;
  }
}
* { box-sizing: border-box; }
html { scroll-padding-top: 1rem; }
body { margin: 0 auto; max-width: 70rem; padding: 0 1.25rem 4rem; background: var(--ground); color: var(--text);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; overflow-wrap: anywhere; }
[hidden] { display: none !important; }
a { color: var(--link); text-underline-offset: .15em; }
:focus-visible { outline: 3px solid var(--focus); outline-offset: 2px; border-radius: 3px; }
.skip { position: absolute; left: -100vw; background: var(--raised); padding: .5rem 1rem; z-index: 2; }
.skip:focus { left: 1rem; top: 1rem; }
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 2.5rem 0 .25rem; letter-spacing: -.01em; }
h2 { font-size: 1.35rem; margin: 3rem 0 .75rem; padding-bottom: .35rem; border-bottom: 1px solid var(--rule); }
h3 { font-size: 1.08rem; margin: 1.75rem 0 .6rem; }
h5 { font-size: .95rem; margin: 1.4rem 0 .4rem; }
h6 { font-size: .85rem; margin: .6rem 0 .25rem; color: var(--quiet); }
header > p { margin: 0; color: var(--quiet); }
nav ul { display: flex; flex-wrap: wrap; gap: .35rem 1.25rem; list-style: none; padding: 0; margin: 1.1rem 0 0; }
.count { color: var(--quiet); font-weight: 400; font-variant-numeric: tabular-nums; }
.about { color: var(--quiet); font-size: .875rem; }
.verdict { font-size: 1.1rem; }
.note { border-left: 4px solid var(--high); background: var(--high-ground); color: var(--text); padding: .6rem .9rem; border-radius: 3px; }
.tiles { display: flex; flex-wrap: wrap; gap: .6rem; margin: 1rem 0; }
.tile { display: flex; flex-direction: column-reverse; min-width: 7rem; padding: .6rem .9rem; border: 1px solid var(--rule);
  border-radius: 6px; background: var(--raised); }
.tile dt { font-size: .875rem; color: var(--quiet); }
.tile dd { margin: 0; font-size: 1.7rem; line-height: 1.2; font-weight: 600; font-variant-numeric: tabular-nums; }
.tile.critical:not(.none) dd { color: var(--critical); } .tile.high:not(.none) dd { color: var(--high); }
.tile.medium:not(.none) dd { color: var(--medium); } .tile.low:not(.none) dd { color: var(--low); }
.tile.none dd { color: var(--quiet); font-weight: 400; }
.badge, .change { display: inline-block; padding: 0 .5em; border-radius: 3px; font-size: .8125rem; font-weight: 600; line-height: 1.6;
  white-space: nowrap; border: 1px solid transparent; }
.badge { min-width: 4.6rem; text-align: center; }
.critical.badge { color: var(--critical); background: var(--critical-ground); } .high.badge { color: var(--high); background: var(--high-ground); }
.medium.badge { color: var(--medium); background: var(--medium-ground); } .low.badge { color: var(--low); background: var(--low-ground); }
.tasks .about, .plain .about { display: block; } .plain { list-style: none; padding: 0; } .plain li { padding: .3rem 0; }
.plain .badge { margin-right: .35rem; } .tasks .badge { margin-right: .35rem; } .more { color: var(--quiet); }
.good { padding-left: 1.4rem; } .good li::marker { content: "✓  "; color: var(--good); }
summary { cursor: pointer; }
.finding { border: 1px solid var(--rule); border-radius: 6px; background: var(--raised); margin: .4rem 0;
  scroll-margin-top: 1rem; }
.finding summary, .finding > .summary { padding: .6rem .9rem; border-radius: 6px; } .finding summary:hover { background: var(--sunk); }
.finding summary .about { display: block; padding-left: 6.2rem; margin-top: .1rem; } .finding.past > .about { margin: 0; padding: 0 .9rem .6rem 6.2rem; }
.finding h4 { display: inline; font-size: 1rem; font-weight: 600; margin: 0 .3rem 0 .25rem; }
.finding .body { padding: 0 1.1rem 1.1rem; border-top: 1px solid var(--rule); } .impact { font-size: 1.03rem; }
dl { margin: .25rem 0; } dl > div:not(.tile) { display: grid; grid-template-columns: 11rem minmax(0, 1fr); gap: 0 1rem; padding: .28rem 0; }
dt { color: var(--quiet); } dd { margin: 0; min-width: 0; } dd ul { margin: 0; padding-left: 1.1rem; } dd > dl > div { padding: 0; }
dl.wide > div { grid-template-columns: minmax(0, 1fr); padding: .5rem 0; border-bottom: 1px solid var(--rule); } dl.wide dt { color: var(--text); }
dl.wide dd { color: var(--quiet); }
code, pre { font-family: ui-monospace, "SF Mono", "Cascadia Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: .86rem; }
pre { margin: .2rem 0; padding: .6rem .8rem; background: var(--sunk); border-radius: 4px; overflow: auto; max-height: 28rem; white-space: pre-wrap;
  unicode-bidi: isolate; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .7rem; text-align: right; vertical-align: top; border-bottom: 1px solid var(--rule); white-space: nowrap; overflow-wrap: normal; }
thead th { color: var(--quiet); font-weight: 600; font-size: .84rem; }
th:first-child, th.words, td.words { text-align: left; white-space: normal; } tbody th { font-weight: 400; overflow-wrap: anywhere; min-width: 11rem; max-width: 26rem; }
td:has(.bar) { width: 30%; min-width: 7rem; } .statement { display: -webkit-box; -webkit-line-clamp: 3; -webkit-box-orient: vertical; overflow: hidden; }
tr:hover .statement, tr:focus-within .statement { -webkit-line-clamp: none; }
.bar { display: block; width: 100%; height: .8rem; margin-top: .35rem; } .a { fill: var(--a); } .b { fill: var(--b); } .c { fill: var(--c); }
.absent { color: var(--quiet); } .chart { margin-bottom: 2.25rem; }
footer { margin-top: 4rem; border-top: 1px solid var(--rule); color: var(--quiet); font-size: .875rem; }
@media (max-width: 40rem) {
  dl > div:not(.tile) { grid-template-columns: minmax(0, 1fr); } .finding summary .about, .finding.past > .about { padding-left: .3rem; }
  .tile { min-width: 6rem; }
}
@media (forced-colors: active) { .badge, .change { border-color: currentColor; } .a, .b, .c { forced-color-adjust: none; } }
@media print {
  body { max-width: none; font-size: 10pt; padding: 0; } nav, #filters, .skip, .values { display: none !important; }
  .finding { border-color: #999; } .finding summary { list-style: none; break-after: avoid; }
  pre { max-height: none; overflow: visible; } h2, h3, h4, h5 { break-after: avoid; } a { color: inherit; text-decoration: none; }
  .statement { display: inline; } .scroll { overflow: visible; } .badge, .change { border-color: currentColor; }
}
`;
