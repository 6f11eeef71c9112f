#include "writ/base/log.h"

#include <unistd.h>

#include <atomic>

#include "writ/base/clock.h"
#include "writ/base/log_context.h"
#include "writ/base/log_request.h"

namespace writ::log {
namespace {

std::atomic<Level> g_level{Level::kWarn};
std::atomic<Format> g_format{Format::kText};

thread_local std::shared_ptr<const RunContext> t_run;
thread_local std::string t_request;

constexpr std::string_view kNames[] = {"debug", "info", "warn", "error", "off"};

// JSON string escapes, and in text the same for control bytes: a log line is one line, whatever a
// hostile name holds.
void AppendEscaped(std::string& out, std::string_view text, bool json) {
  static constexpr char kHex[] = "0123456789abcdef";
  for (char c : text) {
    auto u = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      if (json) out += '\\';
      out += c;
    } else if (u < 0x20 || u == 0x7f || u >= 0x80) {
      // Bytes of valid UTF-8 are kept in JSON only when ASCII; others are shown as escapes, so that
      // the line is valid whatever the bytes are.
      out += json ? "\\u00" : "\\x";
      out += kHex[u >> 4];
      out += kHex[u & 15];
    } else {
      out += c;
    }
  }
}

void AppendField(std::string& line, const Field& field, bool json) {
  line += json ? ",\"" : " ";
  AppendEscaped(line, field.key, json);
  line += json ? "\":" : "=";
  if (json && !field.is_number) line += '"';
  AppendEscaped(line, field.value, json);
  if (json && !field.is_number) line += '"';
}

// What the line says itself counts.
void AppendContext(std::string& line, std::initializer_list<Field> fields, bool json) {
  auto add = [&](std::string_view key, std::string_view value) {
    if (value.empty()) return;
    for (const Field& field : fields)
      if (field.key == key) return;
    AppendField(line, Field(key, value), json);
  };
  add("request", t_request);
  if (t_run == nullptr) return;
  add("run", t_run->run());
  add("step", t_run->step());
  add("trace", t_run->trace());
}

}  // namespace

InRun::InRun(std::shared_ptr<const RunContext> context)
    : before_(std::exchange(t_run, std::move(context))) {}
InRun::~InRun() {
  t_run = std::move(before_);
}
std::shared_ptr<const RunContext> CurrentRun() {
  return t_run;
}

InRequest::InRequest(std::string id) : before_(std::exchange(t_request, std::move(id))) {}
InRequest::~InRequest() {
  t_request = std::move(before_);
}

void Configure(Level level, Format format) {
  g_level = level;
  g_format = format;
}

Level CurrentLevel() {
  return g_level;
}

void Write(Level level, std::string_view event, std::string_view message,
           std::initializer_list<Field> fields) {
  if (level < g_level.load(std::memory_order_relaxed)) return;
  bool json = g_format.load(std::memory_order_relaxed) == Format::kJson;
  std::string line;
  std::string time = FormatRfc3339(SystemClock().Now());
  std::string_view name = kNames[static_cast<int>(level)];
  if (json) {
    line = "{\"ts\":\"" + time + "\",\"level\":\"";
    line += name;
    line += "\",\"event\":\"";
    AppendEscaped(line, event, true);
    line += "\",\"message\":\"";
    AppendEscaped(line, message, true);
    line += '"';
    for (const Field& field : fields) AppendField(line, field, true);
    AppendContext(line, fields, true);
    line += "}\n";
  } else {
    line = time + ' ';
    line += name;
    line += ' ';
    AppendEscaped(line, event, false);
    line += ": ";
    AppendEscaped(line, message, false);
    for (const Field& field : fields) AppendField(line, field, false);
    AppendContext(line, fields, false);
    line += '\n';
  }
  // One write per line keeps lines of several threads whole (pipes: up to PIPE_BUF).
  std::string_view rest = line;
  while (!rest.empty()) {
    ssize_t n = ::write(2, rest.data(), rest.size());
    if (n <= 0) return;
    rest.remove_prefix(static_cast<std::size_t>(n));
  }
}

}  // namespace writ::log
