"""A line to the hub that writes down every WebSocket frame and can be cut."""

import asyncio
import json
import struct
from urllib.parse import parse_qs, urlsplit


class Transport:
    """One TCP connection of the client: its handshake and its frames, in order."""

    def __init__(self):
        self.query = {}
        self.subprotocol = None
        self.accepted = False
        self.up = []  # frames of the client
        self.down = []  # frames of the hub

    def is_recovery(self):
        return "awps_connection_id" in self.query


class Frames:
    """Takes WebSocket frames out of a stream of bytes."""

    def __init__(self, into):
        self.bytes = bytearray()
        self.into = into

    def feed(self, data):
        self.bytes += data
        while (frame := self._take()) is not None:
            opcode, payload = frame
            if opcode == 1:
                pairs = json.loads(payload, object_pairs_hook=lambda pairs: pairs)
                self.into.append({"keys": [key for key, _ in pairs], "frame": dict(pairs)})
            elif opcode == 8:
                code = struct.unpack("!H", payload[:2])[0] if len(payload) >= 2 else None
                self.into.append({"close": code})

    def _take(self):
        data = self.bytes
        if len(data) < 2:
            return None
        length, at = data[1] & 127, 2
        if length == 126:
            if len(data) < 4:
                return None
            length, at = struct.unpack("!H", data[2:4])[0], 4
        elif length == 127:
            if len(data) < 10:
                return None
            length, at = struct.unpack("!Q", data[2:10])[0], 10
        masked = data[1] & 128
        end = at + (4 if masked else 0) + length
        if len(data) < end:
            return None
        payload = bytes(data[end - length : end])
        if masked:
            mask = data[at : at + 4]
            payload = bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))
        opcode = data[0] & 15
        del data[:end]
        return opcode, payload


class Recorder:
    def __init__(self, hub_port):
        self.hub_port = hub_port
        self.transports = []
        self.writers = set()
        self.armed = False
        self.deaf = False

    async def start(self):
        self.server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self.server.sockets[0].getsockname()[1]

    def arm(self):
        """Has the next publish reach the hub, but not its answer: the line is cut instead."""
        self.armed = True

    def _watch(self, record):
        last = record.up[-1].get("frame", {}) if record.up else {}
        if self.armed and last.get("type") == "sendToGroup":
            self.armed, self.deaf = False, True
            # Long enough for the hub to execute it.
            asyncio.get_running_loop().call_later(0.2, self._cut)

    def _cut(self):
        """Ends every connection without a WebSocket goodbye."""
        self.deaf = False
        for writer in list(self.writers):
            writer.transport.abort()

    async def _accept(self, reader, writer):
        record = Transport()
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.hub_port)
        except OSError:
            writer.transport.abort()
            return
        self.writers |= {writer, far_writer}
        ends = (
            self._pipe(reader, far_writer, record, True),
            self._pipe(far_reader, writer, record, False),
        )
        await asyncio.gather(*ends, return_exceptions=True)
        self.writers -= {writer, far_writer}

    async def _pipe(self, reader, writer, record, is_up):
        head, frames = bytearray(), Frames(record.up if is_up else record.down)
        try:
            while data := await reader.read(65536):
                if is_up or not self.deaf:
                    writer.write(data)
                if head is not None:
                    head += data
                    if b"\r\n\r\n" not in head:
                        continue
                    text, _, data = bytes(head).partition(b"\r\n\r\n")
                    self._handshake(text.decode("latin-1"), record, is_up)
                    head = None
                frames.feed(data)
                await writer.drain()
                if is_up:
                    self._watch(record)
        except OSError:
            pass
        finally:
            writer.close()

    def _handshake(self, text, record, is_up):
        first, *rest = text.split("\r\n")
        headers = {}
        for line in rest:
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        if is_up:
            record.query = parse_qs(urlsplit(first.split(" ")[1]).query)
            record.subprotocol = headers.get("sec-websocket-protocol")
        else:
            record.accepted = " 101 " in first
            if record.accepted:
                self.transports.append(record)
