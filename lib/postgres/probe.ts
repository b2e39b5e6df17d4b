import { connect as connectSocket } from "node:net";
import type { Endpoint } from "../ports/databases.ts";

/** SSLRequest of the wire protocol (PostgreSQL documentation, "Message Formats"). */
const sslRequest = Buffer.from([0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f]);

/**
 * Whether something that speaks PostgreSQL's protocol answers there: an SSLRequest is answered with S or N
 * before anybody logs in, by a server and by a pooler alike. Never rejects.
 */
export function answersLogin(endpoint: Endpoint, timeoutMilliseconds: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connectSocket({ host: endpoint.host, port: endpoint.port });
    const finish = (answer: boolean) => {
      socket.destroy();
      resolve(answer);
    };
    socket.setTimeout(timeoutMilliseconds, () => finish(false));
    socket.once("error", () => finish(false));
    socket.once("end", () => finish(false));
    socket.once("connect", () => socket.write(sslRequest));
    socket.once("data", (data) => finish(data[0] === 0x53 || data[0] === 0x4e));
  });
}
