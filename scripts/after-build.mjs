import { chmodSync } from "node:fs";

// TypeScript writes files without the executable bit; a checkout's own `npx pgkeep` needs it.
chmodSync(new URL("../dist/bin/pgkeep.js", import.meta.url), 0o755);
