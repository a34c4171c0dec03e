// A certificate that nobody trusts, made on the spot for the loopback address. Written by hand in DER, for Node makes none.
import { generateKeyPairSync, sign } from "node:crypto";

export interface Certificate {
  /** PEM. */
  readonly cert: string;
  /** PEM. */
  readonly key: string;
}

/** One value: tag, length, content. */
function der(tag: number, ...parts: readonly (Uint8Array | number[])[]): Buffer {
  const content = Buffer.concat(parts.map((part) => Buffer.from(part)));
  const { length } = content;
  const size = length < 128 ? [length] : length < 256 ? [0x81, length] : [0x82, length >> 8, length & 255];
  return Buffer.concat([Buffer.from([tag, ...size]), content]);
}

const SEQUENCE = 0x30;
const ECDSA_SHA256 = der(SEQUENCE, [0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]);
const NAME = der(SEQUENCE, der(0x31, der(SEQUENCE, [0x06, 3, 0x55, 4, 3], der(0x0c, Buffer.from("test")))));
const YEARS = der(SEQUENCE, der(0x17, Buffer.from("200101000000Z")), der(0x17, Buffer.from("491231235959Z")));

/** Self-signed, for 127.0.0.1. */
export function makeCertificate(): Certificate {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
  const address = der(0x04, der(SEQUENCE, der(0x87, [127, 0, 0, 1])));
  const extensions = der(0xa3, der(SEQUENCE, der(SEQUENCE, [0x06, 3, 0x55, 0x1d, 0x11], address)));
  const body = der(
    SEQUENCE,
    der(0xa0, [0x02, 1, 2]),
    [0x02, 1, 1],
    ECDSA_SHA256,
    NAME,
    YEARS,
    NAME,
    publicKey.export({ type: "spki", format: "der" }),
    extensions,
  );
  const signature = der(0x03, [0], sign("sha256", body, privateKey));
  const lines = der(SEQUENCE, body, ECDSA_SHA256, signature)
    .toString("base64")
    .replace(/(.{64})/g, "$1\n");
  return {
    cert: `-----BEGIN CERTIFICATE-----\n${lines}\n-----END CERTIFICATE-----\n`,
    key: privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
  };
}
