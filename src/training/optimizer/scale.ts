// The loss scale of f16 training: up after a long run of finite gradients, down at once where one is not. Numbers are torch.amp.GradScaler's.

export interface ScaleState {
  /** Multiplies the loss; a power of two, so that dividing by it is exact. */
  readonly scale: number;
  /** Steps with finite gradients since the scale last changed. */
  readonly good: number;
}

export const SCALE_START: ScaleState = { scale: 2 ** 16, good: 0 };
/** Finite steps after which the scale doubles. */
export const SCALE_INTERVAL = 2000;

/** The state after a step. */
export function nextScale({ scale, good }: ScaleState, finite: boolean): ScaleState {
  if (!finite) return { scale: scale / 2, good: 0 };
  return good + 1 === SCALE_INTERVAL ? { scale: scale * 2, good: 0 } : { scale, good: good + 1 };
}
