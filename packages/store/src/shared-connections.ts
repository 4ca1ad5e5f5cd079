/**
 * Two connections that all lookups of a process share. `postgres.ts` sends them here what came as `read`: statements go
 * out one behind the other without waiting for answers, and those of one turn of the event loop in one write, so that
 * many lookups at once cost the system calls and wake-ups of a few. A slow statement holds up those behind it, which
 * is why a caller must say that its own is quick; the connection with the fewest under way takes the next.
 * It never writes, and never repeats what a lost connection may have done.
 */
import pg from 'pg';

const CONNECTIONS = 2;

interface Link {
  readonly client: pg.Client;
  readonly ready: Promise<unknown>;
  underWay: number;
  held: boolean;
}

export class SharedConnections {
  readonly #config: pg.ClientConfig;
  #links: Link[] = [];

  constructor(config: pg.ClientConfig) {
    this.#config = { ...config, pipeline: true };
  }

  /** Rejects with what the driver throws. */
  async query(statement: pg.QueryConfig): Promise<object[]> {
    const link = this.#leastBusy();
    link.underWay += 1;
    try {
      await link.ready;
      holdUntilTurnEnds(link);
      return (await link.client.query(statement)).rows;
    } finally {
      link.underWay -= 1;
    }
  }

  async close(): Promise<void> {
    await Promise.all(this.#links.map(({ ready, client }) => ready.then(() => client.end()).catch(() => undefined)));
  }

  #leastBusy(): Link {
    const idle = this.#links.find((link) => link.underWay === 0);
    if (idle) return idle;
    if (this.#links.length < CONNECTIONS) return this.#open();
    return this.#links.reduce((least, link) => (link.underWay < least.underWay ? link : least));
  }

  #open(): Link {
    const client = new pg.Client(this.#config);
    const drop = () => {
      this.#links = this.#links.filter((other) => other !== link);
    };
    client.on('error', drop).on('end', drop);
    const ready = client.connect().catch((error) => {
      drop();
      throw error;
    });
    const link: Link = { client, ready, underWay: 0, held: false };
    this.#links.push(link);
    return link;
  }
}

/** What is written until the event loop has turned leaves together. */
function holdUntilTurnEnds(link: Link): void {
  if (link.held) return;
  link.held = true;
  const { stream } = (link.client as unknown as { connection: { stream: NodeJS.WritableStream & Corkable } })
    .connection;
  stream.cork();
  setImmediate(() => {
    link.held = false;
    stream.uncork();
  });
}

interface Corkable {
  cork(): void;
  uncork(): void;
}
