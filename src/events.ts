// How long work reports while it runs. A verb yields these and returns its report; nothing here prints.

/** Work in progress. Bytes are counted per phase, from 0 to `total`. */
export type RunEvent =
  | { readonly kind: "phase"; readonly name: string }
  | { readonly kind: "bytes"; readonly done: number; readonly total: number }
  /** Tokens that went through a model, counted per phase; one that went through half of the blocks counts as half. */
  | { readonly kind: "tokens"; readonly done: number; readonly total: number }
  | StepEvent
  /** A corpus measured during training, after `step` steps: mean loss in nats. */
  | { readonly kind: "evaluation"; readonly step: number; readonly name: string; readonly loss: number }
  | { readonly kind: "note"; readonly level: "info" | "warning"; readonly text: string };

/** One optimizer step of a training run, as it ended. */
export interface StepEvent {
  readonly kind: "step";
  /** Steps done, of how many. */
  readonly step: number;
  readonly of: number;
  /** Mean over the step's tokens, before its update. */
  readonly loss: number;
  /** Learning rate. */
  readonly rate: number;
  /** Global norm of the gradients, before clipping. */
  readonly norm: number;
  readonly tokensPerSecond: number;
  readonly secondsLeft: number;
}

/** Every verb: an async generator that yields events and returns one report. */
export type Run<Report> = AsyncGenerator<RunEvent, Report, void>;

export interface RunOptions {
  /** Fires to stop; the run ends with ExpandError "interrupted" within a second, leaving only finished files. */
  readonly signal?: AbortSignal;
}

/** Runs to the end, passing each event to `onEvent`, and gives the report. */
export async function finish<Report>(run: Run<Report>, onEvent?: (event: RunEvent) => void): Promise<Report> {
  for (;;) {
    const next = await run.next();
    if (next.done) return next.value;
    onEvent?.(next.value);
  }
}
