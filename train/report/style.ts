/** The style sheet of the reports. Variables hold the colours; dark pages and print change those only. */
export const STYLE = `
:root { --page: #f5f6f8; --card: #fff; --ink: #1c2129; --ink-soft: #3c4350; --ink-faint: #6a7280; --grid: #e2e5ea;
  --fake: #c24f00; --real: #0068a3; --uncertain: #7a6200; --warn-back: #fff4dc; --warn-edge: #e0a100; --info-back: #e9f2fa; --info-edge: #4c94cc }
@media (prefers-color-scheme: dark) { :root { --page: #14171c; --card: #1c2027; --ink: #e8eaee; --ink-soft: #c3c8d1;
  --ink-faint: #8d95a3; --grid: #343a45; --fake: #ff8a3d; --real: #58b4f0; --uncertain: #e0c050;
  --warn-back: #3a2f10; --warn-edge: #e0a100; --info-back: #17293a; --info-edge: #4c94cc } }
* { box-sizing: border-box }
body { margin: 0; background: var(--page); color: var(--ink); line-height: 1.5;
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif }
main { max-width: 860px; margin: 0 auto; padding: 40px 24px 64px }
header { margin-bottom: 24px }
h1 { font-size: 27px; line-height: 1.25; margin: 0; letter-spacing: -0.01em; overflow-wrap: anywhere }
.subtitle { margin: 4px 0 0; color: var(--ink-faint) }
section { background: var(--card); border: 1px solid var(--grid); border-radius: 10px; padding: 20px 24px; margin: 0 0 18px }
h2 { font-size: 17px; margin: 0 0 12px }
p { margin: 0 0 12px; max-width: 68ch }
section > :last-child { margin-bottom: 0 }
.notice { max-width: none; padding: 10px 14px; border-left: 4px solid var(--info-edge); background: var(--info-back); border-radius: 0 6px 6px 0 }
.notice.warning { border-color: var(--warn-edge); background: var(--warn-back); font-weight: 600 }
.tiles { display: flex; flex-wrap: wrap; gap: 12px; margin: 0 0 16px }
.tile { flex: 1 1 150px; border: 1px solid var(--grid); border-radius: 8px; padding: 10px 14px }
.tile .label { font-size: 12.5px; color: var(--ink-faint) }
.tile .value { font-size: 24px; font-weight: 650; line-height: 1.3; font-variant-numeric: tabular-nums; overflow-wrap: anywhere }
.tile .detail { font-size: 12.5px; color: var(--ink-faint) }
.tile.fake .value { color: var(--fake) } .tile.real .value { color: var(--real) } .tile.uncertain .value { color: var(--uncertain) }
.scroll { overflow-x: auto; margin: 0 0 20px }
table { border-collapse: collapse; min-width: 60%; font-size: 14px }
td small { display: block; font-size: 11.5px; color: var(--ink-faint) }
caption { text-align: left; color: var(--ink-faint); font-size: 13px; padding-bottom: 6px }
th, td { text-align: left; padding: 6px 12px 6px 0; border-bottom: 1px solid var(--grid); vertical-align: top }
th { font-weight: 600; color: var(--ink-soft); white-space: nowrap }
th.number, td.number { text-align: right; font-variant-numeric: tabular-nums; padding: 6px 0 6px 16px; white-space: nowrap }
th.number + th:not(.number), td.number + td:not(.number) { padding-left: 16px }
tbody tr:last-child td { border-bottom: 0 }
dl { display: grid; grid-template-columns: minmax(110px, max-content) 1fr; gap: 4px 18px; margin: 0 0 16px; font-size: 14px }
dt { color: var(--ink-faint) } dd { margin: 0; overflow-wrap: anywhere; font-variant-numeric: tabular-nums }
pre { overflow-x: auto; font: 12.5px/1.5 ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; margin: 0 0 16px;
  padding: 12px 14px; background: var(--page); border-radius: 6px }
figure { margin: 0 }
.chart { margin: 0 0 20px; overflow-x: auto } .chart svg { display: block; max-width: 100%; height: auto }
.images { display: flex; flex-wrap: wrap; gap: 14px; margin: 0 0 16px }
.images img { display: block; max-width: 100%; height: auto; border-radius: 4px }
.images.pixelated img { image-rendering: pixelated }
figcaption { font-size: 12.5px; color: var(--ink-faint); margin-top: 4px }
@media print { :root { --page: #fff; --card: #fff; --ink: #000; --ink-soft: #333; --ink-faint: #555; --grid: #ccc }
  body { font-size: 11pt; -webkit-print-color-adjust: exact; print-color-adjust: exact } main { max-width: none; padding: 0 }
  section { border: 0; padding: 0; margin-bottom: 18pt } figure, table, .tiles, .notice { break-inside: avoid } h2 { break-after: avoid } }
`
