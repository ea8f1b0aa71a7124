// Which of the formats of metrics an Accept header wants: the acceptable one of the highest quality, of equals the first that the
// header names; JSON where it does not say, or wants none of them.
import type { TextFormat } from "./exposition.ts";

const formats: Record<string, "json" | TextFormat> = {
  "application/json": "json",
  "text/plain": "prometheus",
  "application/openmetrics-text": "openmetrics",
  "application/*": "json",
  "text/*": "prometheus",
  "*/*": "json",
};

/** The format for a request's Accept header. */
export function chooseFormat(accept: string | undefined): "json" | TextFormat {
  const wanted = (accept ?? "").split(",").flatMap((part) => {
    const [type = "", ...parameters] = part.split(";").map((piece) => piece.trim().toLowerCase());
    const format = Object.hasOwn(formats, type) ? formats[type] : undefined;
    const quality = parameters.find((parameter) => parameter.startsWith("q="));
    const weight = quality === undefined ? 1 : Number(quality.slice(2));
    return format && weight > 0 ? [{ format, weight }] : [];
  });
  return wanted.toSorted((one, other) => other.weight - one.weight)[0]?.format ?? "json";
}
