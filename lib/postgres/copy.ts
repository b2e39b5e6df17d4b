import type { Socket } from "node:net";
import { Readable, Writable } from "node:stream";
import { PgkeepError } from "../errors.ts";

/** What of pg's connection COPY needs; pg hands it to whatever has a method `submit`, as pg-cursor has. */
interface Wire {
  readonly stream: Socket;
  query(sql: string): void;
  sendCopyFromChunk(chunk: Buffer): void;
  endCopyFrom(): void;
  sendCopyFail(message: string): void;
}

type Translate = (error: unknown) => Error;

/** The server sends each row in a message of its own: so many bytes of them are handed on together. */
const blockBytes = 1 << 16;

/** Runs `COPY … TO STDOUT` and gives what the server sends, no faster than it is read. */
export class CopyOut extends Readable {
  private readonly sql: string;
  private readonly translate: Translate;
  private readonly cancel: () => void;
  private wire: Wire | undefined;
  private over = false;
  private block = Buffer.allocUnsafe(blockBytes);
  private filled = 0;

  /** @param cancel asks the server to stop: called when nobody reads the rest */
  constructor(sql: string, translate: Translate, cancel: () => void) {
    super({ highWaterMark: 2 * blockBytes });
    this.sql = sql;
    this.translate = translate;
    this.cancel = cancel;
  }

  submit(wire: Wire): void {
    this.wire = wire;
    wire.query(this.sql);
  }

  handleCopyData({ chunk }: { chunk: Buffer }): void {
    if (this.destroyed) return;
    // The chunk lies in the parser's buffer, which the next message may overwrite: it is copied.
    if (chunk.length > blockBytes - this.filled) this.passOn();
    if (chunk.length > blockBytes) this.give(Buffer.from(chunk));
    else this.filled += chunk.copy(this.block, this.filled);
  }

  handleCommandComplete(): void {}

  handleReadyForQuery(): void {
    this.over = true;
    this.passOn();
    this.wire?.stream.resume();
    if (!this.destroyed) this.push(null);
  }

  handleError(error: unknown): void {
    this.over = true;
    this.wire?.stream.resume();
    this.destroy(this.translate(error));
  }

  override _read(): void {
    this.wire?.stream.resume();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.wire?.stream.resume();
    if (!this.over && this.wire !== undefined) this.cancel();
    done(error);
  }

  private passOn(): void {
    if (this.filled === 0) return;
    const block = this.block.subarray(0, this.filled);
    this.block = Buffer.allocUnsafe(blockBytes);
    this.filled = 0;
    this.give(block);
  }

  private give(block: Buffer): void {
    if (!this.destroyed && !this.push(block)) this.wire?.stream.pause();
  }
}

/** Runs `COPY … FROM STDIN`. Finished when the server has taken all rows; ended early it keeps none of them. */
export class CopyIn extends Writable {
  /** How many rows the server took; known when the stream has finished. */
  rows = 0;
  private readonly sql: string;
  private readonly translate: Translate;
  private wire: Wire | undefined;
  private taking = false;
  private over = false;
  private whenTaking: (() => void) | undefined;
  private whenOver: (() => void) | undefined;

  constructor(sql: string, translate: Translate) {
    super({ highWaterMark: 2 * blockBytes });
    this.sql = sql;
    this.translate = translate;
  }

  submit(wire: Wire): void {
    this.wire = wire;
    wire.query(this.sql);
  }

  handleCopyInResponse(wire: Wire): void {
    if (this.destroyed) {
      wire.sendCopyFail("nobody sends the rows");
      return;
    }
    this.taking = true;
    this.whenTaking?.();
  }

  handleCommandComplete({ text }: { text: string }): void {
    this.rows = Number(/^COPY (\d+)$/.exec(text)?.[1] ?? 0);
  }

  handleReadyForQuery(): void {
    this.over = true;
    this.whenOver?.();
  }

  handleError(error: unknown): void {
    this.over = true;
    this.destroy(this.translate(error));
  }

  override _write(chunk: Buffer, _: BufferEncoding, done: (error?: Error | null) => void): void {
    this.onceTaking((wire) => {
      wire.sendCopyFromChunk(chunk);
      if (wire.stream.writableNeedDrain) wire.stream.once("drain", () => done());
      else done();
    });
  }

  override _final(done: (error?: Error | null) => void): void {
    this.onceTaking((wire) => {
      this.whenOver = () => done();
      wire.endCopyFrom();
    });
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    if (this.taking && !this.over) this.wire?.sendCopyFail("the rows ended early");
    done(error ?? (this.over ? null : new PgkeepError("internal", "COPY was given up")));
  }

  private onceTaking(work: (wire: Wire) => void): void {
    const go = () => work(this.wire as Wire);
    if (this.taking) go();
    else this.whenTaking = go;
  }
}
