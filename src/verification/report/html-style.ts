// How a report looks: light, dark and on paper, from a phone's width up. Names no file and no address.

/** Contents of the page's one style element. */
export const STYLE = `
:root { color-scheme: light dark;
  --paper: #fff; --ink: #1b1f24; --quiet: #57606a; --line: #d0d7de; --shade: #f4f6f8;
  --good: #116329; --bad: #b3261e; --open: #7a4d00;
  --original: #44637f; --original-ink: #fff; --copy: #8a4baf; --copy-shade: #f6effb; }
@media screen and (prefers-color-scheme: dark) { :root {
  --paper: #0f1317; --ink: #e6eaee; --quiet: #a0aab4; --line: #333c45; --shade: #191f25;
  --good: #5fce7f; --bad: #ff8a80; --open: #e8b339;
  --original: #5b80a1; --original-ink: #fff; --copy: #c792ea; --copy-shade: #2a1f33; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 62rem; padding: 1rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
h1 { font-size: 1.4rem; line-height: 1.3; margin: 0; }
h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; break-after: avoid; }
h3 { font-size: 1rem; margin: 1rem 0 .25rem; break-after: avoid; }
p { margin: .5rem 0; }
code { font: .9em ui-monospace, monospace; overflow-wrap: anywhere; }
.quiet, figcaption, footer { color: var(--quiet); }
.verdict { border: 1px solid var(--tone); border-left-width: .5rem; border-radius: .4rem; padding: .8rem 1rem; }
.verdict h1 { color: var(--tone); }
.identity { --tone: var(--good); } .not-identity { --tone: var(--bad); } .inconclusive { --tone: var(--open); }
.failed, .refutes { color: var(--bad); font-weight: 600; } .left-open, .leaves-open, .warns { color: var(--open); }
.passed { color: var(--good); }
table { border-collapse: collapse; width: 100%; margin: .5rem 0; }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem .3rem 0; border-top: 1px solid var(--line);
  overflow-wrap: anywhere; }
tbody th, .result { white-space: nowrap; overflow-wrap: normal; }
thead th { color: var(--quiet); font-weight: 500; border-top: 0; overflow-wrap: normal; }
tr { break-inside: avoid; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.scroll { overflow-x: auto; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; margin: .5rem 0; }
dt { color: var(--quiet); } dd { margin: 0; overflow-wrap: anywhere; }
.legend { display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; list-style: none; padding: 0; margin: .5rem 0; }
.legend i { display: inline-block; width: 1em; height: 1em; border-radius: .2em; vertical-align: -.12em; margin-right: .35em; }
.stream { display: flex; flex-wrap: wrap; list-style: none; padding: 0; margin: .5rem 0; }
.stream > li { display: flex; flex-direction: column; align-items: center; justify-content: center; position: relative;
  min-width: 2.5rem; min-height: 3.4rem; margin: .25rem calc(.5rem + 4px) .25rem 0; padding: .15rem .35rem; border-radius: .35rem;
  font-size: .8rem; line-height: 1.3; break-inside: avoid; }
.stream > li::after { content: ""; position: absolute; left: calc(100% + 2px); top: 50%; width: .5rem; border-top: 2px solid var(--quiet); }
.stream > li:last-child::after { display: none; }
.stream b { font-size: .95rem; }
i.original, .stream .original { background: var(--original); color: var(--original-ink); border: 2px solid var(--original); }
i.copy, .stream .copy { background: var(--copy-shade); border: 2px dashed var(--copy); }
i.unknown, .stream .unknown { border: 2px dotted var(--bad); }
.stream > .fault { outline: 3px solid var(--bad); outline-offset: 1px; }
.spoken { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
.zero { display: block; white-space: nowrap; }
.zero::before, i.zero::before { content: "0"; display: inline-block; width: 1.15em; margin-right: .3em; border-radius: 50%;
  text-align: center; line-height: 1.15em; font-size: .95em; font-weight: 700; font-style: normal;
  background: var(--copy); color: var(--paper); }
.legend i.zero { width: auto; margin: 0; }
figure { margin: 0 0 1rem; break-inside: avoid; }
figure > div { display: grid; grid-template-columns: 4.6rem 1fr; column-gap: .5rem; }
figure svg { width: 100%; height: 7rem; grid-row: 1 / 3; grid-column: 2; border-bottom: 1px solid var(--quiet); display: block; }
figure .top, figure .foot { font-size: .75rem; text-align: right; color: var(--quiet); }
figure .foot { align-self: end; }
figure .axis { grid-column: 2; display: flex; justify-content: space-between; font-size: .75rem; color: var(--quiet); }
svg .original { fill: var(--original); } svg .copy { fill: var(--copy); }
svg .fault, svg .unknown { fill: var(--bad); }
svg .limit { stroke: var(--open); stroke-width: 1.5; vector-effect: non-scaling-stroke; stroke-dasharray: 4 3; }
details { margin: 1rem 0; } summary { cursor: pointer; }
footer { margin-top: 2rem; border-top: 1px solid var(--line); font-size: .85rem; }
@media (max-width: 40rem) {
  .findings thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  .findings tr { display: block; border-top: 1px solid var(--line); padding: .4rem 0; }
  .findings td { display: block; border: 0; padding: .05rem 0; } }
@media print { body { max-width: none; padding: 0; font-size: 10pt; } details::details-content { content-visibility: visible; height: auto; }
  .scroll { overflow: visible; } }
`;
