// The smallest model that shows whether a device computes: y = MatMul(x, x), all [1, 1] float32 (opset 21).
export const PROBE: Uint8Array = Buffer.from(
  "CAo6QAoRCgF4CgF4EgF5IgZNYXRNdWwSAXBaEwoBeBIOCgwIARIICgIIAQoCCAFiEwoBeRIOCgwIARIICgIIAQoCCAFCBAoAEBU=",
  "base64",
);
