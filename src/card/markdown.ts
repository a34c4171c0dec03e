// Markdown that no name can break: tables, code, links. Knows nothing of models.

/** "1,235,814,400". */
export function count(number: number): string {
  return number.toLocaleString("en-US");
}

export function table(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const line = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
  return [line(head), line(head.map(() => "---")), ...rows.map(line)];
}

/** A fence that is longer than any inside. */
export function fenced(language: string, text: string): string[] {
  const longest = Math.max(2, ...[...text.matchAll(/`+/g)].map(([run]) => run.length));
  const fence = "`".repeat(longest + 1);
  return [`${fence}${language}`, text.replace(/\n$/, ""), fence];
}

export function link(repo: string): string {
  return `[${plain(repo)}](https://huggingface.co/${repo})`;
}

/** Text in which nothing is markup. */
export function plain(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}]/gu, " ").replace(/[\\`*_[\]<>|#&]/g, "\\$&");
}

export function code(text: string): string {
  return `\`${text
    .replace(/[\p{Cc}\p{Cf}]/gu, " ")
    .replaceAll("`", "'")
    .replaceAll("|", "\\|")}\``;
}
