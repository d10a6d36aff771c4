// Numbers and moments as people read them.

export const DASH = "\u2013";

export function percent(value, digits = 1) {
  if (value === null || value === undefined) return DASH;
  return `${trimmed(value, value !== 0 && Math.abs(value) < 1 ? 2 : digits)}%`;
}

export function seconds(value) {
  if (value === null || value === undefined) return DASH;
  if (value >= 1) return `${value.toPrecision(3)} s`;
  if (value >= 1e-3) return `${(value * 1e3).toPrecision(3)} ms`;
  return `${Math.round(value * 1e6)} \u00b5s`;
}

export function rate(value) {
  if (value === null || value === undefined) return DASH;
  return value >= 100 ? Math.round(value).toLocaleString("en") : trimmed(value, 1);
}

/** An e-value, given as its natural logarithm. */
export function eValue(log) {
  if (log === null || log === undefined) return DASH;
  const power = log / Math.LN10;
  if (power >= 6 || power <= -3) return `1e${power < 0 ? "" : "+"}${Math.round(power)}`;
  const value = Math.exp(log);
  return value >= 100 ? Math.round(value).toLocaleString("en") : value.toPrecision(2);
}

export function bytes(value) {
  if (value === null || value === undefined) return DASH;
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  let left = value;
  while (left >= 1024 && at < units.length - 1) {
    left /= 1024;
    at += 1;
  }
  return `${left.toPrecision(3)} ${units[at]}`;
}

export function cpus(value) {
  return value === null || value === undefined ? DASH : `${Math.round(value * 100)}%`;
}

const CLOCK = { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" };

/** Seconds since 1970 as a time of day, here. */
export function clock(at) {
  return new Date(at * 1000).toLocaleTimeString("en-GB", CLOCK);
}

export function moment(at) {
  const date = new Date(at * 1000);
  return `${date.toLocaleDateString("en-CA")} ${date.toLocaleTimeString("en-GB", CLOCK)}`;
}

/** "step 2 of 5" -> "Step 2 of 5"; a name at the beginning stays as it is written. */
export function sentence(words) {
  return /^[a-z]+(?: |$|,|:)/.test(words) ? words.charAt(0).toUpperCase() + words.slice(1) : words;
}

/** The phase in words; a rollout that needs a person, or has a target that is not ready, is not called steady. */
export function phaseWord(status, needs, ready) {
  if (status.phase !== "idle") return PHASES[status.phase];
  if (needs.length) return "Not steady";
  return ready ? PHASES.idle : "Not ready yet";
}

const PHASES = {
  idle: "Steady",
  progressing: "In progress",
  paused: "Paused",
  promoting: "Promoting",
  promoted: "Promoted",
  comparing: "Comparing",
  ended: "Ended",
  rolled_back: "Rolled back",
  aa: "A/A",
};

function trimmed(value, digits) {
  return String(Number(value.toFixed(digits)));
}
