import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));

// Three files with fixed names, which the Python package serves: nothing is loaded from anywhere else.
export default defineConfig({
  base: "./",
  resolve: {
    alias: {
      "@avocet/client/web": here("../typescript/src/web.ts"),
      "@avocet/client": here("../typescript/src/index.ts"),
    },
  },
  build: {
    outDir: here("../python/avocet_client/web/page"),
    emptyOutDir: true,
    target: "es2022",
    modulePreload: { polyfill: false },
    rollupOptions: { output: { entryFileNames: "app.js", assetFileNames: "app[extname]", codeSplitting: false } },
  },
});
