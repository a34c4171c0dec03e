// All records by `general.architecture`. Nothing else.
import type { GgufRecords } from "../family.ts";
import { DENSE_RECORDS } from "./dense.ts";
import { EXPERT_RECORDS } from "./experts.ts";
import { PATTERNED_RECORDS } from "./patterned.ts";
import { RECURRENT_RECORDS } from "./recurrent.ts";
import { REFUSED_RECORDS } from "./refused.ts";

export const RECORDS: GgufRecords = {
  ...DENSE_RECORDS,
  ...EXPERT_RECORDS,
  ...PATTERNED_RECORDS,
  ...RECURRENT_RECORDS,
  ...REFUSED_RECORDS,
};
