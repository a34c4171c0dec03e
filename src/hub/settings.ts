// Where the Hub is, who we are there, and where its files are kept on this machine: environment variables, as Python's client reads
// them. Never prints or stores a token.
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { ExpandError } from "../errors.ts";

export interface HubSettings {
  /** Without a slash at its end. */
  readonly endpoint: string;
  /** Sent to the endpoint's own host only. */
  readonly token?: string;
  /** Directory of the local cache. */
  readonly cache: string;
  /** HF_HUB_OFFLINE: only the cache may be read. */
  readonly offline: boolean;
  /** False under HF_HUB_DISABLE_XET: whole files are sent. */
  readonly xet?: boolean;
}

type Environment = Readonly<Record<string, string | undefined>>;

/** Token: `token` > HF_TOKEN > the file HF_TOKEN_PATH > $HF_HOME/token. Throws "usage" for settings that cannot be meant. */
export function hubSettings(token?: string, env: Environment = process.env): HubSettings {
  const home = full(env.HF_HOME || path.join(env.XDG_CACHE_HOME || "~/.cache", "huggingface"));
  const found = token || env.HF_TOKEN || tokenFile(full(env.HF_TOKEN_PATH || path.join(home, "token")));
  const settings = {
    endpoint: endpointOf(env.HF_ENDPOINT || "https://huggingface.co"),
    cache: full(env.HF_HUB_CACHE || env.HUGGINGFACE_HUB_CACHE || path.join(home, "hub")),
    offline: isOn(env.HF_HUB_OFFLINE || env.TRANSFORMERS_OFFLINE),
    ...(isOn(env.HF_HUB_DISABLE_XET) ? { xet: false } : {}),
  };
  if (found === undefined || found.trim() === "") return settings;
  return { ...settings, token: checked(found.trim(), settings.endpoint) };
}

/** Settings that no shell has read, in a service or an action, may begin with "~". */
function full(file: string): string {
  return file.replace(/^~(?=$|[/\\])/, () => os.homedir());
}

function isOn(value: string | undefined): boolean {
  return /^(?:1|on|yes|true)$/i.test(value ?? "");
}

function endpointOf(words: string): string {
  const url = URL.canParse(words) ? new URL(words) : undefined;
  if (url !== undefined && /^https?:$/.test(url.protocol) && isBare(url)) {
    return url.href.replace(/\/+$/, "");
  }
  throw new ExpandError("usage", "is not the address of a Hub", {
    at: "HF_ENDPOINT",
    fix: "Set it to an address such as https://huggingface.co, or unset it.",
  });
}

/** No user, no query: nothing that an error must not show. */
function isBare({ username, password, search, hash }: URL): boolean {
  return `${username}${password}${search}${hash}` === "";
}

function tokenFile(file: string): string | undefined {
  try {
    return fs.readFileSync(file, "utf8");
  } catch {
    // No file, no token: public repositories need none, and the Hub says so where they do.
    return undefined;
  }
}

function checked(token: string, endpoint: string): string {
  // A line break would end the header that carries it.
  if (!/^[\x21-\x7e]+$/.test(token)) {
    throw new ExpandError("usage", "the token holds characters that no token has", {
      fix: "Copy the token again, from the Hub's settings page.",
    });
  }
  const { protocol, hostname } = new URL(endpoint);
  if (protocol === "https:" || isLoopback(hostname)) return token;
  throw new ExpandError("usage", `${endpoint} is not encrypted; a token sent there could be read on the way`, {
    at: "HF_ENDPOINT",
    fix: "Use an https address, or unset the token.",
  });
}

function isLoopback(hostname: string): boolean {
  return hostname === "localhost" || hostname === "[::1]" || /^127\.\d+\.\d+\.\d+$/.test(hostname);
}
