"""The style sheet of the page: light and dark by the reader's setting, from 400 pixels up, no font from outside."""

CSS = """
:root {
  color-scheme: light dark;
  --page: #f7f6f3; --card: #ffffff; --ink: #1d2430; --muted: #5a6474; --line: #e3e1db; --soft: #f0eeea;
  --accent: #0b5fa5; --other: #a85a06; --done: #0b5fa5; --running: #79b4e3; --interrupted: #d99a2b;
  --failed: #b3261e; --missing: #c9c6be; --doubt: #8a5200; --shade: #1d243040;
  --serif: "Iowan Old Style", "Palatino Linotype", Palatino, "URW Palladio L", Georgia, "DejaVu Serif", serif;
  --sans: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Liberation Sans", Arial, sans-serif;
  --mono: ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #0f1217; --card: #171b22; --ink: #e8ebf0; --muted: #9aa5b4; --line: #2a313c; --soft: #1e242d;
    --accent: #6cb6f5; --other: #f0a150; --done: #6cb6f5; --running: #2f6ea8; --interrupted: #d8a03c;
    --failed: #f2776d; --missing: #49525f; --doubt: #f0b45e; --shade: #e8ebf040;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; scroll-behavior: smooth; }
body { margin: 0; background: var(--page); color: var(--ink); font: 1rem/1.55 var(--sans); }
main { max-width: 70rem; margin: 0 auto; padding: clamp(1.25rem, 4vw, 3.5rem) clamp(1rem, 4vw, 2.5rem) 4rem; }
a { color: var(--accent); text-underline-offset: .2em; text-decoration-thickness: .06em; }
h1, h2 { font-family: var(--serif); font-weight: 600; line-height: 1.2; text-wrap: balance; }
h1 { font-size: clamp(1.7rem, 1.1rem + 2.6vw, 2.7rem); letter-spacing: -.012em; margin: .35rem 0 .7rem; }
h2 { font-size: 1.35rem; margin: 3.2rem 0 1rem; }
h3 { font-size: .82rem; font-weight: 600; color: var(--muted); margin: 1.6rem 0 .4rem; }
.eyebrow { margin: 0; color: var(--muted); font-size: .9rem; }
.eyebrow b { color: var(--ink); font-weight: 600; }
.question { font: italic 1.2rem/1.5 var(--serif); color: var(--muted); max-width: 46rem; margin: 0 0 1.8rem; text-wrap: balance; }
.facts { display: flex; flex-wrap: wrap; gap: .9rem 2.4rem; margin: 0 0 1.8rem; }
.facts dt { color: var(--muted); font-size: .82rem; }
.facts dd { margin: 0; font-weight: 600; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.coverage { display: flex; gap: 2px; height: .7rem; border-radius: .35rem; overflow: hidden; }
.coverage i { min-width: .35rem; background: var(--state); }
.legend { display: flex; flex-wrap: wrap; gap: .3rem 1.3rem; list-style: none; margin: .6rem 0 0; padding: 0; font-size: .9rem; }
.legend li::before { content: ""; display: inline-block; width: .65rem; height: .65rem; border-radius: .15rem;
  margin-right: .45rem; background: var(--state); }
.is-done { --state: var(--done); } .is-running { --state: var(--running); } .is-failed { --state: var(--failed); }
.is-interrupted { --state: var(--interrupted); } .is-partial { --state: var(--done); }
.is-missing { --state: repeating-linear-gradient(135deg, var(--missing) 0 3px, var(--soft) 3px 6px); }
.controls { display: flex; flex-wrap: wrap; align-items: center; gap: .6rem; margin-bottom: .7rem; font-size: .92rem; }
.controls[hidden] { display: none; }
.controls input, .controls select { font: inherit; color: inherit; background: var(--card); border: 1px solid var(--line);
  border-radius: .4rem; padding: .4rem .65rem; min-width: 0; }
.controls input { flex: 0 1 16rem; }
.controls output { color: var(--muted); }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
/* The first two layers move with the table and cover the shades where it ends. */
.scroll { overflow-x: auto; width: fit-content; max-width: 100%; border: 1px solid var(--line); border-radius: .6rem;
  background: linear-gradient(to right, var(--card) 35%, transparent) 0 0 / 3rem 100% no-repeat local,
    linear-gradient(to left, var(--card) 35%, transparent) 100% 0 / 3rem 100% no-repeat local,
    linear-gradient(to right, var(--shade), transparent) 0 0 / .9rem 100% no-repeat,
    linear-gradient(to left, var(--shade), transparent) 100% 0 / .9rem 100% no-repeat, var(--card); }
table { border-collapse: collapse; font-variant-numeric: tabular-nums lining-nums; }
th, td { padding: .42rem .65rem; text-align: left; vertical-align: top; }
thead th { font-size: .85rem; font-weight: 600; color: var(--muted); border-bottom: 1px solid var(--line); vertical-align: bottom; }
table:not(.rows) { font-size: .92rem; }
.tall thead th { position: sticky; top: 0; background: var(--card); }
tbody th { font-weight: 600; }
table.rows th:first-child { position: sticky; left: 0; background: var(--card); z-index: 1; }
table.rows tbody tr + tr > * { border-top: 1px solid var(--line); }
table.rows tbody tr:hover > * { background: var(--soft); }
th.num, td.num { text-align: right; }
td.num { white-space: nowrap; }
th button { all: unset; cursor: pointer; }
th button:hover { color: var(--ink); }
th button:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
th button::after { content: "↕"; opacity: .35; margin-left: .35em; font-weight: 400; }
th[aria-sort=ascending] button::after { content: "↑"; opacity: 1; }
th[aria-sort=descending] button::after { content: "↓"; opacity: 1; }
.note { display: block; color: var(--muted); font-size: .8rem; }
.mark { color: var(--doubt); font-weight: 600; }
sup.mark { line-height: 0; margin-left: .1em; margin-right: -.5em; }
.legend .flagged::before { content: "†"; width: auto; height: auto; background: none; color: var(--doubt); font-weight: 600; }
.bar { display: block; position: relative; height: 3px; margin: .22rem 0 .12rem; background: var(--soft); border-radius: 2px;
  min-width: 4rem; }
.bar::before { content: ""; position: absolute; inset: 0 calc(100% - var(--high) * 1%) 0 calc(var(--low) * 1%);
  background: var(--accent); opacity: .5; border-radius: 2px; }
.bar::after { content: ""; position: absolute; left: calc(var(--value) * 1% - 1px); top: -2px; width: 2px; height: 7px;
  background: var(--accent); }
.other .bar::before, .other .bar::after { background: var(--other); }
.point::before { content: "●"; color: var(--accent); margin-right: .4em; font-size: .8em; }
.other .point::before { content: "◇"; color: var(--other); font-size: 1em; margin-right: .3em; }
td span.mark { display: block; min-width: 8rem; overflow-wrap: anywhere; }
time { white-space: nowrap; }
td.absent { color: var(--muted); min-width: 9rem; overflow-wrap: anywhere; }
td.absent.is-failed { color: var(--failed); }
.badge { display: inline-block; min-width: 5.6rem; font-size: .82rem; color: var(--muted); }
.badge::before { content: ""; display: inline-block; width: .6rem; height: .6rem; border-radius: 50%; margin-right: .45rem;
  background: var(--state); }
.notes { margin: 1rem 0 0; padding: 0; list-style: none; color: var(--muted); font-size: .92rem; max-width: 50rem; }
.notes li { margin: .25rem 0; }
.notes .doubtful { color: var(--doubt); }
figure { margin: 0 0 2rem; }
.frame { background: var(--card); border: 1px solid var(--line); border-radius: .6rem;
  padding: clamp(.3rem, 1.5vw, 1rem); }
.frame img { display: block; height: auto; width: 100%; max-width: 52rem; margin: 0 auto; }
.frame.wide img { max-width: none; }
.frame.white { background: #fff; }
.frame.white img { width: auto; max-width: 100%; min-width: min(100%, 26rem); }
figcaption { color: var(--muted); font-size: .92rem; margin-top: .6rem; max-width: 50rem; }
h1.name { font: 600 clamp(1.05rem, .9rem + .8vw, 1.5rem)/1.3 var(--mono); overflow-wrap: anywhere; text-wrap: wrap; }
td .coverage { min-width: 7rem; margin-top: .45rem; }
table.long th[scope=row] { min-width: clamp(10.5rem, 22vw, 19rem); overflow-wrap: anywhere; font-size: .95rem; }
th[scope=row] .note { font-weight: 400; }
.rows .absent { color: var(--muted); font-weight: 400; }
td:not(.num) .note { max-width: 26rem; overflow-wrap: anywhere; }
.links { list-style: none; margin: 0; padding: .4rem .9rem; background: var(--card); border: 1px solid var(--line); border-radius: .6rem; }
.links li { display: flex; flex-wrap: wrap; gap: .1rem .9rem; padding: .35rem 0; align-items: baseline; }
.links li + li { border-top: 1px solid var(--line); }
.name { color: var(--muted); font-size: .88rem; overflow-wrap: anywhere; }
details.run { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; margin: .5rem 0; }
details.run > summary { cursor: pointer; padding: .65rem .9rem; display: flex; flex-wrap: wrap; gap: .1rem .9rem;
  align-items: baseline; list-style: none; }
details.run > summary::-webkit-details-marker { display: none; }
details.run > summary::before { content: "›"; color: var(--muted); width: .6rem; transition: transform .12s; }
details.run[open] > summary::before { transform: rotate(90deg); }
.inside { padding: 0 .9rem 1.1rem; border-top: 1px solid var(--line); }
.inside .facts { margin: 1rem 0 0; gap: .6rem 1.8rem; font-size: .92rem; }
.inside table { font-size: .86rem; } .inside .scroll { border-radius: .4rem; }
.inside th, .inside td { padding: .28rem .7rem; }
.tall { max-height: 19rem; overflow: auto; }
pre { margin: 0; padding: .8rem .9rem; background: var(--soft); border-radius: .4rem; font: .84rem/1.5 var(--mono);
  overflow: auto; max-height: 26rem; }
pre.note { background: none; padding: 0; margin: 0; white-space: pre; font-family: var(--mono); max-width: none; }
pre.error { color: var(--failed); white-space: pre-wrap; overflow-wrap: anywhere; }
footer { margin-top: 3.5rem; padding-top: 1rem; border-top: 1px solid var(--line); color: var(--muted); font-size: .88rem; }
@media (max-width: 40rem) {
  th, td { padding: .45rem .4rem; }
  table.rows th:first-child { position: static; max-width: 36vw; overflow-wrap: break-word; }
  table.long th:first-child { min-width: 6rem; overflow-wrap: anywhere; }
  table.long td:not(.num) { min-width: 4.6rem; overflow-wrap: anywhere; }
  .badge, td .coverage, td span.mark { min-width: 0; }
  .bar { min-width: 3rem; }
  .question { font-size: 1.08rem; }
}
@media (prefers-reduced-motion: reduce) { html { scroll-behavior: auto; } * { transition: none !important; } }
@media print { .controls { display: none; } .scroll, .frame, .tall, pre { overflow: visible; max-height: none; } }
"""
