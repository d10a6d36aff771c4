// A document as YAML, as people write rollout files. Only what the API sends: objects, lists, text, numbers.

const PLAIN = /^(?:[A-Za-z_][A-Za-z0-9_./-]*|[0-9]+(?:\.[0-9]+)?(?:%|ms|s|m|h))$/;
const TAKEN = /^(?:true|false|null|yes|no|on|off|y|n)$/i;

export function yaml(value) {
  return lines(value).join("\n") + "\n";
}

function lines(value) {
  if (Array.isArray(value)) {
    return value.flatMap((entry) => {
      const [first, ...rest] = empty(entry) ? [scalar(entry)] : lines(entry);
      return [`- ${first}`, ...rest.map((line) => `  ${line}`)];
    });
  }
  return Object.entries(value).flatMap(([key, entry]) => {
    if (empty(entry)) return [`${scalar(key)}: ${scalar(entry)}`];
    return [`${scalar(key)}:`, ...lines(entry).map((line) => `  ${line}`)];
  });
}

/** Whether it is written on one line. */
function empty(value) {
  return value === null || typeof value !== "object" || Object.keys(value).length === 0;
}

function scalar(value) {
  if (typeof value === "string") return PLAIN.test(value) && !TAKEN.test(value) ? value : JSON.stringify(value);
  return JSON.stringify(value);
}
