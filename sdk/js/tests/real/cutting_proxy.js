/** A proxy before a real Coordinator, which cuts every connection after a random number of bytes of its answers. */

import { connect, createServer } from "node:net";

/**
 * Listens until the test ends. `limit` says after how many bytes a new connection is to be cut.
 * @param {import("node:test").TestContext} test @param {URL} upstream @param {() => number} limit
 */
export async function cuttingProxy(test, upstream, limit) {
  const state = { cuts: 0, url: "" };
  const sockets = new Set();
  const server = createServer((near) => {
    const far = connect(Number(upstream.port), upstream.hostname);
    let left = limit();
    const end = () => {
      near.destroy();
      far.destroy();
    };
    for (const socket of [near, far]) {
      sockets.add(socket);
      socket.on("error", end).on("close", end);
    }
    near.pipe(far);
    far.on("data", (bytes) => {
      if (bytes.length <= left) {
        left -= bytes.length;
        near.write(bytes);
        return;
      }
      state.cuts++;
      far.pause();
      // What came before the cut arrives.
      near.write(bytes.subarray(0, left), end);
      left = 0;
    });
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", () => done(null)));
  test.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const { port } = /** @type {import("node:net").AddressInfo} */ (server.address());
  state.url = `http://127.0.0.1:${port}`;
  return state;
}
