// The library's face: everything that other code may rely on. test/exports.test.ts freezes this list.
export type {
  Adaptation,
  Architecture,
  Block,
  Branch,
  ConfigEdit,
  Factor,
  FixedTensor,
} from "./architecture/architecture.ts";
export { understand } from "./architecture/detect.ts";
export type { ExpandedIndex, Layout, LayoutBlock, SourceIndex } from "./architecture/layout.ts";
export type { Checkpoint, Config, Dialect, Format, Shard } from "./checkpoint/checkpoint.ts";
export { type Fingerprint, fingerprint } from "./checkpoint/fingerprint.ts";
export { type ConvertOptions, type ConvertReport, convert } from "./commands/convert.ts";
export {
  type ApplyOptions,
  type ApplyReport,
  applyDelta,
  type ExtractOptions,
  type ExtractReport,
  extractDelta,
  type StripOptions,
  type StripReport,
  stripExpansion,
} from "./commands/delta.ts";
export { type DoctorCheck, type DoctorOptions, type DoctorReport, doctor } from "./commands/doctor.ts";
export {
  type EvaluateOptions,
  type EvaluationReport,
  evaluate,
  htmlText as evaluationHtml,
  markdownText as evaluationMarkdown,
  type NamedCorpus,
  terminalText as evaluationText,
} from "./commands/evaluate.ts";
export { type ExpandOptions, type ExpandReport, expand } from "./commands/expand.ts";
export { type ExportOptions, type ExportReport, exportTraining } from "./commands/export.ts";
export { type InspectOptions, type InspectReport, inspect } from "./commands/inspect.ts";
export { type MaskOptions, type MaskReport, mask } from "./commands/mask.ts";
export { type PlanReport, type PrepareOptions, plan } from "./commands/plan.ts";
export { type PushOptions, type PushReport, type PushTarget, push } from "./commands/push.ts";
export { type TrainOptions, type TrainReport, train } from "./commands/train.ts";
export { forecast, type TrainForecast } from "./commands/train-forecast.ts";
export {
  htmlText as verificationHtml,
  junitText as verificationJunit,
  markdownText as verificationMarkdown,
  terminalText as verificationText,
  type VerifyOptions,
  verify,
} from "./commands/verify.ts";
export { type ErrorTag, EXIT_CODES, ExpandError } from "./errors.ts";
export { finish, type Run, type RunEvent, type RunOptions } from "./events.ts";
export type { Mask } from "./expansion/mask.ts";
export type { Place } from "./expansion/placement.ts";
export type { FixedValue, Plan, PlannedBlock, ZeroMode } from "./expansion/plan.ts";
export type { RecipeName } from "./expansion/recipes/recipes.ts";
export { openCheckpoint } from "./formats/open.ts";
export type { WrittenFile } from "./storage/file-plan.ts";
export type { Dtype, Shape } from "./tensor/dtype.ts";
export type { TensorRef } from "./tensor/reference.ts";
export type { ByteSource } from "./tensor/source.ts";
export type { Finding, VerificationReport } from "./verification/report.ts";
