/** The least that fires HTTP requests: kept connections, requests made beforehand, answers read to their end and no further. */
import { connect, type Socket } from 'node:net';

export class RawHttp {
  readonly #port: number;
  readonly #sockets: Socket[] = [];

  private constructor(port: number) {
    this.#port = port;
  }

  static async open(port: number, connections: number): Promise<RawHttp> {
    const http = new RawHttp(port);
    const opened = Array.from({ length: connections }, () => http.#connect());
    http.#sockets.push(...(await Promise.all(opened)));
    return http;
  }

  #connect(): Promise<Socket> {
    return new Promise((resolve, reject) => {
      const socket = connect({ host: '127.0.0.1', port: this.#port, noDelay: true }, () => resolve(socket));
      socket.once('error', reject);
    });
  }

  /** Each connection takes the next request when its last one is answered. Throws at any answer but 200. */
  async fire(requests: readonly Buffer[]): Promise<void> {
    const queue = requests.values();
    await Promise.all(
      this.#sockets.map(async (socket) => {
        for (const request of queue) await exchange(socket, request);
      }),
    );
  }

  /** How long one takes, in milliseconds, on the connection that was free last, or on a new one. */
  async time(request: Buffer): Promise<number> {
    const began = performance.now();
    let socket = this.#sockets.pop();
    while (socket?.destroyed) socket = this.#sockets.pop(); // idle for so long that the server has closed it
    socket ??= await this.#connect();
    await exchange(socket, request);
    this.#sockets.push(socket);
    return performance.now() - began;
  }

  close(): void {
    for (const socket of this.#sockets) socket.destroy();
  }
}

function exchange(socket: Socket, request: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    let answer = '';
    const onClose = () => reject(new Error('the connection was closed'));
    const onData = (chunk: Buffer) => {
      answer += chunk.toString('latin1');
      const head = answer.indexOf('\r\n\r\n');
      if (head < 0) return;
      const length = Number(/content-length: (\d+)/i.exec(answer)?.[1]);
      if (answer.length < head + 4 + length) return;
      socket.off('data', onData).off('close', onClose);
      if (answer.startsWith('HTTP/1.1 200')) resolve();
      else reject(new Error(answer));
    };
    socket.on('data', onData).once('close', onClose);
    socket.write(request);
  });
}
