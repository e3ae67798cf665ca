"""The style sheet of the rank-list page: light and dark, wide and narrow, screen and paper."""

from __future__ import annotations

from typing import Final

STYLE: Final = """
:root {
  --paper: #f6f7f9; --card: #fff; --ink: #1c2128; --faint: #5d6673; --line: #dde1e7;
  --match: #1a8a3f; --other: #d0312d; --unknown: #9aa3af; --link: #0b5cad;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #12151a; --card: #1b2027; --ink: #e7eaee; --faint: #9ba5b2; --line: #303842;
    --match: #3fbf6b; --other: #ff6b62; --unknown: #6c7683; --link: #7ab8ff;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 1.5rem clamp(.75rem, 2.5vw, 2.25rem) 3rem; max-width: 100rem;
  background: var(--paper); color: var(--ink);
  font: 15px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
}
a { color: var(--link); }
h1 { margin: 0 0 .25rem; font-size: 1.6rem; letter-spacing: -.01em; }
p { margin: 0; }
code { font-size: .86em; overflow-wrap: anywhere; }
.skip { position: absolute; left: -100rem; }
.skip:focus { left: 1rem; top: .5rem; background: var(--card); padding: .25rem .5rem; }
.sources { color: var(--faint); }
.scroll { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: separate; border-spacing: 0; border: 1px solid var(--line);
  border-radius: 8px; background: var(--card); }
th, td { padding: .45rem .9rem; text-align: left; white-space: nowrap; }
thead th { font-size: .8rem; font-weight: 600; color: var(--faint); }
tbody th, tbody td { border-top: 1px solid var(--line); }
tbody th { font-weight: 600; }
tbody th code { font-weight: 400; color: var(--faint); margin-left: .3rem; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
.legend { display: flex; flex-wrap: wrap; gap: .3rem 1.4rem; margin: 0 0 .6rem; padding: 0;
  list-style: none; font-size: .9rem; }
.legend li { display: flex; align-items: center; gap: .45rem; }
.sample { display: inline-grid; place-items: center; width: 1.6rem; height: 1.25rem;
  border: 3px solid var(--frame); border-radius: 4px; font-size: .8rem; line-height: 1;
  color: var(--frame); }
details { margin-top: .25rem; color: var(--faint); font-size: .9rem; max-width: 68rem; }
details ul { margin: .4rem 0 0; padding-left: 1.2rem; }
summary { cursor: pointer; color: var(--link); width: max-content; }
.match { --frame: var(--match); }
.other { --frame: var(--other); }
.unknown { --frame: var(--unknown); }
article {
  display: grid; grid-template-columns: 9.5rem minmax(0, 1fr); gap: 1.1rem; margin-top: 1rem;
  padding: .9rem 1rem 1rem; background: var(--card); border: 1px solid var(--line);
  border-radius: 10px; content-visibility: auto; contain-intrinsic-size: auto 12rem;
}
article:target { border-color: var(--link); }
h2 { margin: 0 0 .35rem; font-size: .95rem; }
h2 a { color: inherit; text-decoration: none; }
h2 a:hover { text-decoration: underline; }
.lists { display: grid; gap: .9rem; align-content: start; }
.label { display: flex; gap: .6rem; align-items: baseline; margin-bottom: .35rem;
  font-size: .95rem; min-height: 1.2em; }
.label span { color: var(--faint); font-variant-numeric: tabular-nums; }
.label b { color: var(--ink); }
ol { display: grid; grid-template-columns: repeat(var(--places), minmax(0, 1fr));
  gap: .55rem; margin: 0; padding: 0; list-style: none; }
figure { margin: 0; min-width: 0; border-radius: 6px; }
figure:focus-visible, a:focus-visible, summary:focus-visible, .scroll:focus-visible {
  outline: 2px solid var(--link); outline-offset: 3px;
}
.frame { display: block; border: 4px solid var(--frame); border-radius: 6px;
  overflow: hidden; }
.picture { display: block; width: 100%; height: auto; aspect-ratio: 4 / 3; object-fit: contain;
  background: color-mix(in srgb, var(--unknown) 14%, var(--card)); }
.query .picture { border: 4px solid var(--ink); border-radius: 6px; }
.missing { display: grid; place-items: center; text-align: center; padding: .2rem;
  font-size: .72rem; color: var(--faint); }
.bar { display: flex; justify-content: space-between; padding: 0 .3rem .15rem; font-size: .74rem;
  font-weight: 700; line-height: 1.2; color: var(--card); background: var(--frame); }
figcaption { margin-top: .2rem; font-size: .74rem; line-height: 1.35; color: var(--faint); }
figcaption > span { display: block; }
.facts { display: flex !important; flex-wrap: wrap; justify-content: space-between;
  gap: 0 .3rem; color: var(--ink); font-variant-numeric: tabular-nums; white-space: nowrap; }
.name { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
figure:hover .name, figure:focus .name { white-space: normal; overflow-wrap: anywhere; }
@media (max-width: 70rem) {
  ol { grid-template-columns: repeat(min(var(--places), 5), minmax(0, 1fr)); }
}
@media (max-width: 44rem) {
  article { grid-template-columns: minmax(0, 1fr); }
  .query figure { display: grid; grid-template-columns: 8rem minmax(0, 1fr); gap: .7rem; }
  ol { gap: .45rem; }
}
@media print {
  article { break-inside: avoid; content-visibility: visible; }
}
"""
"""CSS without any address: nothing is loaded."""
