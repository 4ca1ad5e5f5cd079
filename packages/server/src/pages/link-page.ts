/**
 * The look of the pages behind links: server-rendered, without script, nothing from outside, every value escaped. One
 * style, whose hash the content policy names. What the pages say is in `links.ts`; here is only how.
 */
import { createHash } from 'node:crypto';

const style = `
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
body { max-width: 40rem; margin: 3rem auto; padding: 0 1rem; overflow-wrap: anywhere }
section { padding: .25rem 1rem; margin: 1rem 0; border: 1px solid #8886; border-radius: .4rem }
button { font: inherit; padding: .5rem 1.25rem; margin: 0 .75rem .75rem 0 }
`;

/** Its own form may be sent, to where it came from; nothing else is allowed. */
export const linkPagePolicy = [
  "default-src 'none'",
  `style-src 'sha256-${createHash('sha256').update(style).digest('base64')}'`,
  "form-action 'self'",
  "base-uri 'none'",
  "frame-ancestors 'none'",
].join('; ');

export interface LinkPage {
  readonly status: number;
  readonly title: string;
  readonly paragraphs: readonly string[];
  /** Boxes of lines. */
  readonly boxes?: readonly (readonly string[])[];
  readonly closing?: readonly string[];
  /** Name, value and what stands on it. They post to the page's own address. */
  readonly buttons?: readonly { readonly name: string; readonly value: string; readonly label: string }[];
}

export function linkPageHtml({ title, paragraphs, boxes = [], closing = [], buttons = [] }: LinkPage): string {
  const lines = (texts: readonly string[]) => texts.map((text) => `<p>${escapeHtml(text)}</p>`).join('\n');
  const form = buttons
    .map(
      ({ name, value, label }) =>
        `<button type="submit" name="${escapeHtml(name)}" value="${escapeHtml(value)}">${escapeHtml(label)}</button>`,
    )
    .join('\n');
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>${escapeHtml(title)}</title>
<style>${style}</style>
</head>
<body>
<main>
<h1>${escapeHtml(title)}</h1>
${lines(paragraphs)}
${boxes.map((box) => `<section>\n${lines(box)}\n</section>`).join('\n')}
${lines(closing)}
${form === '' ? '' : `<form method="post">\n${form}\n</form>`}
</main>
</body>
</html>
`;
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`);
}
