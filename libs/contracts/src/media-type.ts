import { z } from "zod";

const token = "[a-z0-9][a-z0-9!#$&^_.+-]{0,62}";

/** A media type without parameters, as a header may hold it. */
export const MediaType = z
  .string()
  .regex(new RegExp(`^${token}/${token}$`), "must be a media type such as text/plain, in lower case");
