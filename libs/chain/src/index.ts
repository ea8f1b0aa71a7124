// The audit log as evidence: what makes a line a record of the chain, what a signed checkpoint says, and what is wrong with a
// log. It reads nothing but what it is given, so that a copy is verified wherever it is, by the same code as the log itself.
export { type ChainEnd, canonicalJson, chainStart, followLine, parseLine } from "./line.ts";
export { readBatches } from "./lines.ts";
export { type Note, noteKey, parseNotes, signNote, verifyNote } from "./notes.ts";
export { type CheckpointFile, type Report, startVerification, type Verification } from "./verification.ts";
