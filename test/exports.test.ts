// The public face, frozen: adding a name is a decision, removing one breaks users.
import t from "tap";
import * as library from "../src/index.ts";

t.test("the library exports these names and no others", async (t) => {
  t.same(Object.keys(library).sort(), [
    "EXIT_CODES",
    "ExpandError",
    "applyDelta",
    "convert",
    "doctor",
    "evaluate",
    "evaluationHtml",
    "evaluationMarkdown",
    "evaluationText",
    "expand",
    "exportTraining",
    "extractDelta",
    "fingerprint",
    "finish",
    "forecast",
    "inspect",
    "mask",
    "openCheckpoint",
    "plan",
    "push",
    "stripExpansion",
    "train",
    "understand",
    "verificationHtml",
    "verificationJunit",
    "verificationMarkdown",
    "verificationText",
    "verify",
  ]);
});
