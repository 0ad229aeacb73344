// Figures in the units that people use, and times in UTC with the reader's own beside it.

const UNITS = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

export const count = (number) => whole.format(number);

export function bytes(number) {
  let value = number;
  let unit = 0;
  while (Math.abs(value) >= 999.5 && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  const digits = unit === 0 || Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2;
  return `${value.toFixed(digits)} ${UNITS[unit]}`;
}

/** A long name such as a UUID, told apart by its beginning and its end. */
export const shortened = (name) => (name.length > 24 ? `${name.slice(0, 8)}…${name.slice(-6)}` : name);

export function percent(share) {
  if (share > 0 && share < 0.001) return "< 0.1 %";
  if (share >= 10) return `${count(share)} ×`;
  return `${(share * 100).toFixed(share < 0.1 ? 1 : 0)} %`;
}

export function duration(seconds) {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  if (seconds < 63072000) return `${Math.round(seconds / 86400)} days`;
  return `${Math.round(seconds / 31536000)} years`;
}

const pad = (number) => String(number).padStart(2, "0");
export const utcDay = (date) =>
  `${date.getUTCFullYear()}-${pad(date.getUTCMonth() + 1)}-${pad(date.getUTCDate())}`;
export const utcMinute = (date) => `${pad(date.getUTCHours())}:${pad(date.getUTCMinutes())}`;
/** 2026-11-24 16:05, in UTC: what charts and tables show. */
export const utc = (date) => `${utcDay(date)} ${utcMinute(date)}`;
export const utcSecond = (date) => `${utcMinute(date)}:${pad(date.getUTCSeconds())}`;

const localTime = new Intl.DateTimeFormat("en-GB", {
  hour: "2-digit", minute: "2-digit", hourCycle: "h23", timeZoneName: "short",
});
const localDayTime = new Intl.DateTimeFormat("en-GB", {
  weekday: "short", hour: "2-digit", minute: "2-digit", hourCycle: "h23", timeZoneName: "short",
});
const isUtc = (date) => date.getTimezoneOffset() === 0;

/** The reader's own time, or nothing where that is UTC. */
export const local = (date) => (isUtc(date) ? "" : localTime.format(date));
export const localDay = (date) => (isUtc(date) ? "" : localDayTime.format(date).replace(",", ""));

/** 2026-11-24 16:05 UTC (Tue 17:05 CET). */
export function both(date) {
  const own = localDay(date);
  return own ? `${utc(date)} UTC (${own})` : `${utc(date)} UTC`;
}
