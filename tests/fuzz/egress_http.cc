// HTTP/1 heads and chunked bodies. Held: a head reads the same whole and in two pieces, nothing
// that was taken holds what must be refused, and what is passed on is taken again.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "writ/egress/chunked.h"
#include "writ/egress/host_name.h"
#include "writ/egress/http_head.h"
#include "writ/egress/request_target.h"

namespace {

using namespace writ::egress;

void Check(bool held) {
  if (!held) std::abort();
}

std::string Decode(std::string_view input, std::size_t piece) {
  ChunkedDecoder decoder;
  std::string out;
  while (!input.empty()) {
    std::string_view part = input.substr(0, piece);
    while (!part.empty()) {
      auto step = decoder.Next(part);
      if (step.refused) return out + "!" + std::string(step.refused->code);
      out.append(step.data);
      part.remove_prefix(step.consumed);
      input.remove_prefix(step.consumed);
      if (step.done) return out + "|" + std::to_string(input.size());
      Check(step.consumed > 0);
    }
  }
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view bytes(reinterpret_cast<const char*>(data), size);
  HeadLimits limits{4096, 32};
  HeadScanner whole(limits);
  auto found = whole.Scan(bytes);
  HeadScanner pieces(limits);
  auto first = pieces.Scan(bytes.substr(0, size / 2));
  auto again = std::holds_alternative<HeadScanner::NeedMore>(first) ? pieces.Scan(bytes) : first;
  Check(found.index() == again.index());

  if (const auto* complete = std::get_if<HeadScanner::Complete>(&found)) {
    std::string_view head = bytes.substr(0, complete->bytes);
    auto request = ParseRequestHead(head, limits);
    if (const auto* parsed = std::get_if<RequestHead>(&request)) {
      Check(parsed->target.find_first_of("\r\n \t") == std::string::npos);
      int lengths = 0;
      for (const HeaderField& field : parsed->headers) {
        Check(field.value.find_first_of("\r\n") == std::string::npos);
        lengths += EqualsIgnoreCase(field.name, "Content-Length") ||
                   EqualsIgnoreCase(field.name, "Transfer-Encoding");
      }
      Check(lengths <= 1);
      std::string passed_on = parsed->method + " " + parsed->target + " HTTP/1.1\r\nHost: h\r\n";
      for (const HeaderField& field : EndToEndHeaders(parsed->headers))
        passed_on += field.name + ": " + field.value + "\r\n";
      passed_on += "\r\n";
      Check(std::holds_alternative<RequestHead>(ParseRequestHead(passed_on, HeadLimits{})));
      auto target = ParseAbsoluteTarget(parsed->target);
      if (const auto* absolute = std::get_if<AbsoluteTarget>(&target))
        (void)HostName::Normalise(absolute->authority.host).has_value();
      (void)ParseConnectTarget(parsed->target);
    }
    (void)ParseResponseHead(head, limits, "GET");
    (void)ParseResponseHead(head, limits, "HEAD");
  }
  Check(Decode(bytes, size + 1) == Decode(bytes, 1));
  return 0;
}
