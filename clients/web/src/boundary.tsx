import { Component, type ComponentChildren } from "preact";

interface BoundaryProps {
  /** What it holds, to be named in a sentence. */
  of: string;
  /** Which one of them, if there are several. */
  id?: string;
  children: ComponentChildren;
}

/**
 * Holds a part of the page: an error while it is drawn takes this part away, and puts a sentence in its place.
 *
 * Without it Preact would leave on the screen what stood there before, perhaps of another candidate. So whoever shows
 * something else in its place gives it another key.
 */
export class Boundary extends Component<BoundaryProps, { failure: string }> {
  override state = { failure: "" };

  static override getDerivedStateFromError(thrown: unknown) {
    return { failure: `${thrown}` };
  }

  override componentDidCatch(thrown: unknown): void {
    console.error(thrown);
  }

  override render({ of, id, children }: BoundaryProps, { failure }: { failure: string }) {
    return failure ? (
      <p class="notice wrong unshown" role="alert">
        This page cannot show {of}
        {id && (
          <>
            {" "}
            <code>{id}</code>
          </>
        )}
        . Everything else can still be used. {failure}
      </p>
    ) : (
      children
    );
  }
}
