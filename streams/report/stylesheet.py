"""The style of the report: light and dark, on a phone, and on paper."""

LIGHT = (
    "--paper:#fff;--back:#f4f6f8;--ink:#1a2330;--soft:#566273;--grid:#e2e7ec;--model:#1d5fc4;--over:#fff;"
    "--recency:#8791a0;--boosting:#c4620a;--reference:#2a8a63;--challenger:#a0387c;--high:#c23b34;--medium:#e3a02b;--low:#63a3a8;--mark:#8a3fb0"
)
DARK = (
    "--paper:#171e27;--back:#0e131a;--ink:#e5eaf1;--soft:#9ba8b8;--grid:#2b3543;--model:#76adff;--over:#0e131a;"
    "--recency:#8d99a9;--boosting:#f0a050;--reference:#58c096;--challenger:#e58ac4;--high:#e2675f;--medium:#e0b050;--low:#4f9196;--mark:#cf90ef"
)
STYLE = f"""
:root{{color-scheme:light dark;{LIGHT}}}
@media (prefers-color-scheme:dark){{:root{{{DARK}}}}}
*{{box-sizing:border-box}}
body{{margin:0;background:var(--back);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,
"Helvetica Neue",Arial,sans-serif;-webkit-text-size-adjust:100%}}
main{{max-width:960px;margin:0 auto;padding:36px 20px 48px;display:grid;grid-template-columns:1fr 1fr;gap:20px}}
header,.whole,footer{{grid-column:1/-1}}
h1{{font-size:1.9rem;line-height:1.2;margin:0 0 .3rem;letter-spacing:-.01em}}
h2{{font-size:1.15rem;line-height:1.3;margin:0 0 .35rem}}
h3{{font-size:.95rem;margin:1rem 0 .4rem}}
p{{margin:0 0 .6rem;overflow-wrap:anywhere}}
.soft,.note,footer,dt,.more{{color:var(--soft)}}
.note,.more,footer,details{{font-size:.875rem}}
section,figure{{margin:0;background:var(--paper);border:1px solid var(--grid);border-radius:10px;padding:20px 22px;
min-width:0}}
.tiles{{display:grid;grid-template-columns:repeat(auto-fit,minmax(140px,1fr));gap:12px;margin-top:1.2rem}}
.tile{{background:var(--paper);border:1px solid var(--grid);border-radius:10px;padding:12px 16px}}
.tile b{{display:block;font-size:1.6rem;line-height:1.25;font-variant-numeric:tabular-nums;letter-spacing:-.01em}}
.tile span{{font-size:.875rem;color:var(--soft);display:block;line-height:1.35}}
dl{{display:grid;grid-template-columns:max-content 1fr;gap:.25rem .9rem;margin:.2rem 0 0;align-items:baseline}}
dt{{text-align:right;font-variant-numeric:tabular-nums;color:var(--ink);font-weight:600}}
dd{{margin:0;overflow-wrap:anywhere}}
.key{{list-style:none;display:flex;flex-wrap:wrap;gap:.2rem 1.1rem;margin:.2rem 0 .5rem;padding:0;font-size:.875rem}}
.key svg{{width:26px;height:10px;margin-right:.45em;vertical-align:baseline;display:inline}}
svg{{display:block;width:100%;height:auto;overflow:visible}}
svg text{{font-size:12px;fill:var(--soft);font-variant-numeric:tabular-nums}}
svg text.cell{{font-size:11px;fill:var(--ink)}}
svg text.over{{font-size:11px;fill:var(--over)}}
svg text.mark{{fill:var(--mark);font-size:11px}}
.grid,.tick{{stroke:var(--grid);stroke-width:1}}
.tick{{stroke:var(--soft)}}
.mark{{stroke:var(--mark);stroke-width:1.5;stroke-dasharray:2 3}}
text.mark{{stroke:none}}
.line{{fill:none;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}}
.line.model{{stroke:var(--model);stroke-width:2.6}}
.line.recency{{stroke:var(--recency);stroke-dasharray:6 4}}
.line.boosting{{stroke:var(--boosting);stroke-dasharray:1.5 4}}
.line.reference{{stroke:var(--reference);stroke-width:1.4}}
.line.challenger{{stroke:var(--challenger);stroke-width:1.4;stroke-dasharray:9 3 2 3}}
.line.even{{stroke:var(--soft);stroke-width:1.2;stroke-dasharray:3 4}}
.dot.model,.area.model,rect.model{{fill:var(--model)}}
.dot.recency,rect.recency{{fill:var(--recency)}}
.dot.boosting{{fill:var(--boosting)}}
.dot.reference{{fill:var(--reference)}}
.dot.challenger{{fill:var(--challenger)}}
.high{{fill:var(--high)}}.medium{{fill:var(--medium)}}.low{{fill:var(--low)}}
.area{{stroke:var(--paper);stroke-width:1}}
.spot{{fill:transparent}}
.heat{{fill:var(--model)}}
.points{{margin:0 0 .6rem;padding-left:1.1rem}}
.points li{{margin:0 0 .25rem;overflow-wrap:anywhere}}
.trough{{fill:var(--grid)}}
svg.bar{{height:9px;margin:.2rem 0 .1rem;border-radius:3px;overflow:hidden}}
.bars{{list-style:none;margin:0;padding:0}}
.bars li{{margin:0 0 .75rem}}
.bars .words{{display:flex;justify-content:space-between;gap:1rem}}
.bars .words b{{font-variant-numeric:tabular-nums;white-space:nowrap}}
.more{{unicode-bidi:isolate;overflow-wrap:anywhere}}
.pair{{display:grid;grid-template-columns:1fr 1fr;gap:0 36px}}
.narrow{{display:none}}
.half .narrow{{display:block}}
summary{{cursor:pointer;color:var(--soft)}}
details{{margin-top:.7rem}}
.scroll{{overflow:auto;max-height:420px}}
table{{border-collapse:collapse;margin-top:.5rem;font-variant-numeric:tabular-nums}}
th,td{{padding:.2rem .7rem .2rem 0;text-align:right;white-space:nowrap;border-bottom:1px solid var(--grid)}}
th:first-child,td:first-child{{text-align:left}}
th{{font-weight:600;color:var(--soft)}}
@media (max-width:720px){{
main{{grid-template-columns:minmax(0,1fr);padding:22px 12px 32px;gap:14px}}
section,figure{{padding:16px 15px}}
.wide{{display:none}}.narrow{{display:block}}
.pair{{grid-template-columns:minmax(0,1fr);row-gap:18px}}
.tiles{{grid-template-columns:1fr 1fr;gap:10px}}
.tile:last-child:nth-child(odd){{grid-column:1/-1}}
h1{{font-size:1.5rem}}
}}
@media print{{
:root{{color-scheme:light;{LIGHT};--back:#fff}}
*{{-webkit-print-color-adjust:exact;print-color-adjust:exact}}
body{{font-size:11pt}}
main{{max-width:none;padding:0;gap:12px;grid-template-columns:1fr 1fr}}
section,figure{{padding:14px 16px}}
section,figure,.tile{{break-inside:avoid}}
.wide{{display:block}}.narrow{{display:none}}
.half .narrow{{display:block}}
.pair{{grid-template-columns:1fr 1fr}}
.tiles{{grid-template-columns:repeat(auto-fit,minmax(105px,1fr))}}
.tile:last-child:nth-child(odd){{grid-column:auto}}
details{{display:none}}
@page{{margin:16mm 14mm}}
}}
"""
