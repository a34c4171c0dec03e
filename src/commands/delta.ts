// The verb `delta`: what an expansion added, taken out of it, put back, or left off. The three actions stand in files of their own.
export { type ApplyOptions, type ApplyReport, applyDelta } from "./delta-apply.ts";
export { type ExtractOptions, type ExtractReport, extractDelta } from "./delta-extract.ts";
export { type StripOptions, type StripReport, stripExpansion } from "./delta-strip.ts";
