import { fileURLToPath } from "node:url";
import { defineConfig, type Plugin } from "vite";

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));

/** The page speaks the binary form alone; protobuf's JSON form would be a tenth of what it loads. */
function withoutJson(): Plugin {
  const names: Record<string, string[]> = {
    "from-json.js": ["fromJson", "fromJsonString", "mergeFromJson", "mergeFromJsonString", "enumFromJson", "isEnumJson"],
    "to-json.js": ["toJson", "toJsonString", "enumToJson"],
  };
  return {
    name: "without-json",
    enforce: "pre",
    load(id) {
      const left = /@bufbuild\/protobuf\/dist\/esm\/((?:from|to)-json\.js)$/.exec(id)?.[1];
      const exported = left && names[left]!.map((name) => `none as ${name}`).join(", ");
      return exported && `function none() { throw new Error("the page has no JSON form"); }\nexport { ${exported} };`;
    },
  };
}

// Three files with fixed names, which the Python package serves: nothing is loaded from anywhere else.
export default defineConfig({
  base: "./",
  plugins: [withoutJson()],
  resolve: {
    alias: {
      "@avocet/client/review": here("../typescript/src/review.ts"),
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
