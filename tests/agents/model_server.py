#!/usr/bin/env python3
"""A model server for the real-agent check: no model, two APIs, one deterministic conversation.

Speaks enough of the Anthropic Messages API and of the OpenAI Responses API that the real Claude Code and Codex
command lines work against it. It understands one kind of task, "append the line 'TEXT' to FILE": the answers are
calls of the agent's own tools until a tool result shows the work done, then a closing sentence.

    model_server.py --log FILE [--port-file FILE] [--port N] [--until-pid PID]

Binds 127.0.0.1 only; prints "port N" (and writes N to the port file) once it listens; ends on SIGTERM, and when the
process PID is gone. The log has one JSON object per request: time, method, path, model, whether it
streamed, what was answered. Never headers, never bodies. Python 3.9 or later, standard library only.
"""

import argparse
import gzip
import json
import os
import re
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MAX_BODY = 64 * 1024 * 1024
TASK = re.compile(r"append the line '([^'\n]{1,200})' to ([A-Za-z0-9._-]{1,100})", re.IGNORECASE)
DONE = "Done: the line is in the file."
LOST = "No task of the kind that this server understands."


def word_for(text):
    """How the log names a text answer."""
    return "done" if text == DONE else "text"


def find_task(texts):
    """(line, file) of the newest task among these texts, or None."""
    for text in reversed(texts):
        found = TASK.search(text)
        if found:
            return found.group(1), found.group(2)
    return None


# --- Anthropic Messages -----------------------------------------------------------------------------------------------


def blocks_of(content):
    """Message content as a list of blocks: the API allows a plain string too."""
    return [{"type": "text", "text": content}] if isinstance(content, str) else [b for b in content or [] if isinstance(b, dict)]


def text_of(content):
    return "".join(b.get("text", "") for b in blocks_of(content) if b.get("type") == "text")


def file_text(read_result):
    """What stands in a file, from the numbered listing that the Read tool gives ("  12<arrow or tab>text")."""
    lines = re.findall(r"^\s*\d+(?:\u2192|\t)(.*)$", read_result, re.MULTILINE)
    return "\n".join(lines) + "\n" if lines else read_result


def anthropic_answer(request):
    """The next assistant message as (content block, stop reason)."""
    messages = [m for m in request.get("messages", []) if isinstance(m, dict)]
    tools = {t.get("name") for t in request.get("tools", []) if isinstance(t, dict)}
    task = find_task([text_of(m.get("content")) for m in messages if m.get("role") == "user"])
    if task is None or not tools:  # a title, a summary, a probe of the key
        return {"type": "text", "text": LOST if task is None else "Edit notes"}, "end_turn"
    line, name = task
    calls, results, cwd = [], {}, None
    system = request.get("system")
    for text in [text_of(system)] + [text_of(m.get("content")) for m in messages]:
        found = re.search(r"[Ww]orking directory: (/\S+)", text)
        cwd = found.group(1) if found else cwd
    for message in messages:
        for block in blocks_of(message.get("content")):
            if block.get("type") == "tool_use":
                calls.append((block.get("id"), block.get("name")))
            elif block.get("type") == "tool_result":
                results[block.get("tool_use_id")] = (bool(block.get("is_error")), text_of(block.get("content")))
    path = os.path.join(cwd, name) if cwd else name

    def call(tool, arguments):
        return {"type": "tool_use", "id": "toolu_writ%02d" % (len(calls) + 1), "name": tool, "input": arguments}, "tool_use"

    if calls and results.get(calls[-1][0], (True, ""))[0]:
        said = results.get(calls[-1][0], (True, ""))[1]
        return {"type": "text", "text": "The tool refused: " + said[:300]}, "end_turn"
    used = [tool for _, tool in calls]
    if used and used[-1] == "Bash":  # what the closing look at the file showed
        said = results[calls[-1][0]][1]
        return {"type": "text", "text": DONE if line in said else "The file does not end in the line; the tool said: " + said[:300]}, "end_turn"
    if "Edit" in used or "Write" in used:
        return call("Bash", {"command": "tail -n 1 " + name, "description": "Look at the last line"}) if "Bash" in tools else ({"type": "text", "text": DONE}, "end_turn")
    if "Read" not in used and "Read" in tools:
        return call("Read", {"file_path": path})
    before = file_text(results[calls[-1][0]][1]) if calls else ""
    last = before.rstrip("\n").rsplit("\n", 1)[-1]
    if "Edit" in tools and last and before.count(last) == 1:
        return call("Edit", {"file_path": path, "old_string": last, "new_string": last + "\n" + line})
    if "Write" in tools and before:
        return call("Write", {"file_path": path, "content": before + line + "\n"})
    return call("Bash", {"command": "printf '%s\\n' '" + line + "' >> " + name, "description": "Append a line"})


def anthropic_message(request, number):
    block, reason = anthropic_answer(request)
    return {"id": "msg_writ%04d" % number, "type": "message", "role": "assistant", "model": request.get("model", "none"), "content": [block],
            "stop_reason": reason, "stop_sequence": None, "usage": {"input_tokens": 100, "output_tokens": 20}}


def anthropic_events(message):
    """The streaming form of one message: (event name, data) pairs."""
    block = message["content"][0]
    start = dict(message, content=[], stop_reason=None, usage=dict(message["usage"], output_tokens=1))
    yield "message_start", {"type": "message_start", "message": start}
    if block["type"] == "tool_use":
        opened, text = dict(block, input={}), json.dumps(block["input"])
        deltas = [{"type": "input_json_delta", "partial_json": text[i:i + 40]} for i in range(0, len(text), 40)]
    else:
        opened, deltas = dict(block, text=""), [{"type": "text_delta", "text": block["text"]}]
    yield "content_block_start", {"type": "content_block_start", "index": 0, "content_block": opened}
    yield "ping", {"type": "ping"}
    for delta in deltas:
        yield "content_block_delta", {"type": "content_block_delta", "index": 0, "delta": delta}
    yield "content_block_stop", {"type": "content_block_stop", "index": 0}
    yield "message_delta", {"type": "message_delta", "delta": {"stop_reason": message["stop_reason"], "stop_sequence": None}, "usage": {"output_tokens": 20}}
    yield "message_stop", {"type": "message_stop"}


# --- OpenAI Responses -------------------------------------------------------------------------------------------------


def input_text(item):
    content = item.get("content")
    if isinstance(content, str):
        return content
    return "".join(p.get("text", "") for p in content or [] if isinstance(p, dict) and p.get("type") in ("input_text", "output_text", "text"))


def tools_by_name(request, items):
    """Every tool on offer: name -> (tool, its namespace or None). Newer agents group tools in namespaces, and some offer
    them in an input item in place of the request's own list."""
    found = {}
    lists = [(request.get("tools"), None)] + [(i.get("tools"), None) for i in items if i.get("type") == "additional_tools"]
    for tools, space in lists:  # grows while it is walked
        for tool in tools or []:
            if not isinstance(tool, dict):
                continue
            if tool.get("type") == "namespace":
                lists.append((tool.get("tools"), tool.get("name")))
            else:
                found[tool.get("name") or tool.get("type")] = (tool, space)
    return found


def openai_item(request):
    """The next output item: a call of one of the agent's tools, or the closing message. First the edit (its patch tool
    where there is one, else its shell), then a look at the file through its shell."""
    items = request.get("input") or []
    items = [{"type": "message", "role": "user", "content": items}] if isinstance(items, str) else [i for i in items if isinstance(i, dict)]
    tools = tools_by_name(request, items)
    task = find_task([input_text(i) for i in items if i.get("role") == "user"])
    results = [i for i in items if str(i.get("type", "")).endswith("_call_output")]
    number = "%02d" % (len(results) + 1)

    def say(text):
        return {"type": "message", "id": "msg_writ" + number, "role": "assistant", "status": "completed",
                "content": [{"type": "output_text", "text": text, "annotations": []}]}

    def call(name, arguments):
        tool, space = tools[name]
        item = {"id": "tc_writ" + number, "call_id": "call_writ" + number, "name": name, "status": "completed"}
        if space is not None:
            item["namespace"] = space
        if tool.get("type") == "custom":
            return dict(item, type="custom_tool_call", input=arguments)
        return dict(item, type="function_call", arguments=json.dumps(arguments))

    def shell(script):
        if "exec" in tools:  # tools are called from a script of the model's
            return call("exec", "const r = await tools.exec_command({cmd: %s});\ntext(r.output ?? r);\n" % json.dumps(script))
        for name, arguments in (("exec_command", {"cmd": script}), ("shell_command", {"command": script}), ("shell", {"command": ["sh", "-c", script]})):
            if name in tools:
                return call(name, arguments)
        if "local_shell" in tools:
            return {"type": "local_shell_call", "id": "lsh_writ" + number, "call_id": "call_writ" + number, "status": "completed",
                    "action": {"type": "exec", "command": ["sh", "-c", script], "env": {}}}
        return say("No tool of a kind that this server knows: " + ", ".join(sorted(str(t) for t in tools)))

    if task is None or not tools:
        return say(LOST)
    line, name = task
    if len(results) == 0:
        patch = "*** Begin Patch\n*** Update File: %s\n@@\n+%s\n*** End Patch\n" % (name, line)
        if "exec" in tools and "apply_patch" in str(tools["exec"][0].get("description")):
            return call("exec", "text(await tools.apply_patch(%s));\n" % json.dumps(patch))
        if "apply_patch" in tools:
            return call("apply_patch", patch if tools["apply_patch"][0].get("type") == "custom" else {"input": patch})
        return shell("printf '%s\\n' '" + line + "' >> " + name)
    if len(results) == 1:
        return shell("tail -n 1 " + name)
    said = json.dumps(results[-1].get("output"))
    return say(DONE) if line in said else say("The file does not end in the line; the tool said: " + said[:300])


def openai_response(request, number, status, output):
    return {"id": "resp_writ%04d" % number, "object": "response", "created_at": int(time.time()), "status": status, "model": request.get("model", "none"),
            "output": output, "parallel_tool_calls": False, "tools": [], "tool_choice": "auto", "error": None, "incomplete_details": None,
            "usage": {"input_tokens": 100, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 20,
                      "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 120} if status == "completed" else None}


def openai_events(request, number):
    item = openai_item(request)
    numbered = iter(range(1000))
    begun = openai_response(request, number, "in_progress", [])
    for kind in ("response.created", "response.in_progress"):
        yield kind, {"type": kind, "sequence_number": next(numbered), "response": begun}
    opened = dict(item, status="in_progress")
    if item["type"] == "message":
        opened["content"] = []
    elif item["type"] == "function_call":
        opened["arguments"] = ""
    elif item["type"] == "custom_tool_call":
        opened["input"] = ""
    yield "response.output_item.added", {"type": "response.output_item.added", "sequence_number": next(numbered), "output_index": 0, "item": opened}
    place = {"item_id": item["id"], "output_index": 0}
    if item["type"] == "message":
        part = item["content"][0]
        yield "response.content_part.added", dict(place, type="response.content_part.added", sequence_number=next(numbered), content_index=0, part=dict(part, text=""))
        yield "response.output_text.delta", dict(place, type="response.output_text.delta", sequence_number=next(numbered), content_index=0, delta=part["text"])
        yield "response.output_text.done", dict(place, type="response.output_text.done", sequence_number=next(numbered), content_index=0, text=part["text"])
        yield "response.content_part.done", dict(place, type="response.content_part.done", sequence_number=next(numbered), content_index=0, part=part)
    elif item["type"] == "function_call":
        kind = "response.function_call_arguments"
        yield kind + ".delta", dict(place, type=kind + ".delta", sequence_number=next(numbered), delta=item["arguments"])
        yield kind + ".done", dict(place, type=kind + ".done", sequence_number=next(numbered), arguments=item["arguments"])
    elif item["type"] == "custom_tool_call":
        kind = "response.custom_tool_call_input"
        yield kind + ".delta", dict(place, type=kind + ".delta", sequence_number=next(numbered), delta=item["input"])
        yield kind + ".done", dict(place, type=kind + ".done", sequence_number=next(numbered), input=item["input"])
    yield "response.output_item.done", {"type": "response.output_item.done", "sequence_number": next(numbered), "output_index": 0, "item": item}
    yield "response.completed", {"type": "response.completed", "sequence_number": next(numbered), "response": openai_response(request, number, "completed", [item])}


# --- HTTP -------------------------------------------------------------------------------------------------------------


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address, log):
        super().__init__(address, Handler)
        self.log = log
        self.lock = threading.Lock()  # guards log and number
        self.number = 0

    def next_number(self):
        with self.lock:
            self.number += 1
            return self.number

    def record(self, entry):
        with self.lock:
            self.log.write(json.dumps(entry) + "\n")
            self.log.flush()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60

    def log_message(self, *args):  # the base class would print to stderr
        pass

    def note(self, answered, request=None, stream=False):
        path = re.sub(r"^https?://[^/]*", "", self.path).split("#")[0]
        self.server.record({"time": round(time.time(), 3), "method": self.command, "path": path[:200],
                            "model": request.get("model") if isinstance(request, dict) else None, "stream": stream, "answered": answered})

    def read_json(self):
        length = self.headers.get("Content-Length", "0")
        if not length.isdigit() or int(length) > MAX_BODY or self.headers.get("Transfer-Encoding"):
            return None
        body = self.rfile.read(int(length))
        encoding = self.headers.get("Content-Encoding", "identity").lower()
        try:
            if encoding == "gzip":
                body = gzip.decompress(body)
            elif encoding != "identity":
                return None
            value = json.loads(body)
        except (ValueError, OSError):
            return None
        return value if isinstance(value, dict) else None

    def answer(self, status, value, answered=None, request=None):
        body = json.dumps(value).encode()
        self.note(answered or str(status), request)
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def stream(self, events, answered, request):
        self.note(answered, request, True)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Cache-Control", "no-cache")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for name, data in events:
            chunk = ("event: %s\ndata: %s\n\n" % (name, json.dumps(data))).encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()

    def route(self):
        return re.sub(r"^https?://[^/]*", "", self.path).split("?")[0].rstrip("/") or "/"

    def do_HEAD(self):
        self.answer(200, {})

    def do_GET(self):
        route = self.route()
        if route == "/v1/models":
            self.answer(200, {"object": "list", "data": [], "models": [], "has_more": False})
        elif route in ("/", "/v1", "/health"):
            self.answer(200, {"ok": True})
        else:
            self.answer(404, {"type": "error", "error": {"type": "not_found_error", "message": "no such path"}})

    def do_POST(self):
        route = self.route()
        request = self.read_json()
        if request is None:
            self.close_connection = True
            return self.answer(400, {"type": "error", "error": {"type": "invalid_request_error", "message": "the body is no JSON object"}})
        if route == "/v1/messages/count_tokens":
            return self.answer(200, {"input_tokens": 100}, "count", request)
        if route == "/v1/messages":
            message = anthropic_message(request, self.server.next_number())
            block = message["content"][0]
            answered = "call " + block["name"] if block["type"] == "tool_use" else word_for(block["text"])
            if request.get("stream"):
                return self.stream(anthropic_events(message), answered, request)
            return self.answer(200, message, answered, request)
        if route == "/v1/responses":
            number = self.server.next_number()
            item = openai_item(request)
            answered = word_for(item["content"][0]["text"]) if item["type"] == "message" else "call " + item.get("name", item["type"])
            if request.get("stream"):
                return self.stream(openai_events(request, number), answered, request)
            return self.answer(200, openai_response(request, number, "completed", [item]), answered, request)
        return self.answer(404, {"type": "error", "error": {"type": "not_found_error", "message": "no such path"}}, request=request)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--log", required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--port-file")
    parser.add_argument("--until-pid", type=int)
    options = parser.parse_args()
    with open(options.log, "a", encoding="utf-8") as log:
        server = Server(("127.0.0.1", options.port), log)
        port = server.server_address[1]
        if options.port_file:
            with open(options.port_file + ".new", "w", encoding="ascii") as out:
                out.write("%d\n" % port)
            os.rename(options.port_file + ".new", options.port_file)
        print("port %d" % port, flush=True)
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        threading.Thread(target=server.serve_forever, daemon=True).start()
        while not stop.wait(1):
            if options.until_pid and not os.path.exists("/proc/%d" % options.until_pid):
                break
        server.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
