// How curves look, light and dark: colours that differ in lightness as well, for those who see fewer hues. Names no file and no address.

/** Added to the style of the other reports. */
export const CURVE_STYLE = `
:root { --look0: #8a4baf; --look1: #1f6f8b; --look2: #b3541e; --look3: #2c7a3f; --look4: #a12a5e; --look5: #5a5f66; --look6: #7a6200; --look7: #3550b5; }
@media screen and (prefers-color-scheme: dark) { :root {
  --look0: #c792ea; --look1: #67c5e0; --look2: #f0a069; --look3: #74d08a; --look4: #f28bb8; --look5: #b8bfc7; --look6: #e0c34a; --look7: #9db2ff; } }
svg .curve { fill: none; stroke-width: 1.75; vector-effect: non-scaling-stroke; stroke-linejoin: round; }
svg .dot { stroke-width: 7; stroke-linecap: round; } svg .crowd { stroke: var(--look0); stroke-width: 1; opacity: .45; }
figure svg { height: 11rem; overflow: visible; }
svg .faint { stroke: var(--quiet); stroke-width: 1; opacity: .55; }
.legend i.faint { background: var(--quiet); opacity: .55; }
${Array.from({ length: 8 }, (_, at) => `svg .look${at} { stroke: var(--look${at}); } .legend i.look${at} { background: var(--look${at}); } svg rect.look${at} { fill: var(--look${at}); stroke: none; }`).join("\n")}
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(18rem, 1fr)); gap: 0 2rem; }
.lead { font-size: 1.05rem; }
`;
