// ChunkedDecoder: a strict, incremental reader of chunked bodies (RFC 9112 section 7.1; L29). Pure.
//
// Chunk extensions are checked for form and dropped; trailers are checked like headers and dropped.
// Refused: bare LF or CR, white space around sizes, sizes over 16 hex digits, bad extensions, an
// oversize line, over-long or over-many trailers. Codes: chunk.size chunk.extension chunk.line_end
// chunk.data_end chunk.line_too_long chunk.trailer chunk.trailer_too_long.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "writ/egress/http_head.h"

namespace writ::egress {

class ChunkedDecoder {
 public:
  struct Step {
    std::size_t consumed = 0;  // bytes of the input used up
    std::string_view data;     // payload inside the input; may be empty
    bool done = false;         // the last chunk and the trailers have been read
    std::optional<HttpRefusal> refused;
  };
  // Uses up a prefix of `input` and returns at the latest after one run of payload bytes. Call
  // again with the rest until it is used up, done or refused. After done or refused: not again.
  Step Next(std::string_view input);

 private:
  enum class State : std::uint8_t { kLine, kData, kDataCr, kDataLf, kTrailer };
  std::optional<HttpRefusal> TakeSizeLine();
  State state_ = State::kLine;
  std::string line_;  // the size or trailer line read so far, without its CRLF
  bool saw_cr_ = false;
  std::uint64_t left_ = 0;
  std::size_t trailer_bytes_ = 0;
};

}  // namespace writ::egress
