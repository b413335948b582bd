import { render } from "preact";
import { App } from "./app.js";
import { Boundary } from "./boundary.js";
import "./style.css";

render(
  <Boundary of="itself; reload it, what you typed is kept">
    <App />
  </Boundary>,
  document.getElementById("app")!,
);
