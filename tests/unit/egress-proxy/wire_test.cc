// L29: what two parsers could read differently is refused.
#include <gtest/gtest.h>

#include <map>

#include "proxy_fixture.h"
#include "support/shared_dir.h"
#include "writ/base/file.h"
#include "writ/egress/chunked.h"
#include "writ/egress/client_hello.h"
#include "writ/egress/http_head.h"
#include "writ/egress/request_target.h"
#include "writ/protocol/json.h"

namespace writ::egress {
namespace {

std::string CodeOf(std::string_view head, HeadLimits limits = {}) {
  HeadScanner scanner(limits);
  auto found = scanner.Scan(head);
  if (const auto* refused = std::get_if<HttpRefusal>(&found)) return std::string(refused->code);
  const auto* complete = std::get_if<HeadScanner::Complete>(&found);
  if (complete == nullptr) return "incomplete";
  auto parsed = ParseRequestHead(head.substr(0, complete->bytes), limits);
  if (const auto* refused = std::get_if<HttpRefusal>(&parsed)) return std::string(refused->code);
  return "ok";
}

std::string WithHeader(const std::string& line) {
  return "GET http://h/ HTTP/1.1\r\nHost: h\r\n" + line + "\r\n\r\n";
}

TEST(HttpHead, RefusesAmbiguousShapesByCode) {
  EXPECT_EQ(CodeOf(WithHeader("A: b")), "ok");
  EXPECT_EQ(CodeOf(WithHeader("A : b")), "http.space_before_colon");
  EXPECT_EQ(CodeOf(WithHeader("A: b\r\n c")), "http.obs_fold");
  EXPECT_EQ(CodeOf(WithHeader("A: b\nC: d")), "http.bare_lf");
  EXPECT_EQ(CodeOf(WithHeader("A: b\rC: d")), "http.bare_cr");
  EXPECT_EQ(CodeOf(WithHeader(std::string("A: \0", 4))), "http.nul");
  EXPECT_EQ(CodeOf(WithHeader("A: \x01")), "http.header_value");
  EXPECT_EQ(CodeOf(WithHeader("A: \x7f")), "http.header_value");
  EXPECT_EQ(CodeOf(WithHeader("A(: b")), "http.header_name");
  EXPECT_EQ(CodeOf(WithHeader(": b")), "http.header_name");
  EXPECT_EQ(CodeOf(WithHeader("no colon")), "http.header_name");
  EXPECT_EQ(CodeOf(WithHeader("Content-Length: 1\r\nContent-Length: 1")),
            "http.conflicting_length");
  EXPECT_EQ(CodeOf(WithHeader("Content-Length: 1, 1")), "http.content_length");
  EXPECT_EQ(CodeOf(WithHeader("Content-Length: +1")), "http.content_length");
  EXPECT_EQ(CodeOf(WithHeader("Content-Length: 0x1")), "http.content_length");
  EXPECT_EQ(CodeOf(WithHeader("Content-Length:")), "http.content_length");
  EXPECT_EQ(CodeOf(WithHeader("Content-Length: 99999999999999999999")), "http.content_length");
  EXPECT_EQ(CodeOf(WithHeader("Content-Length: 1\r\nTransfer-Encoding: chunked")),
            "http.length_with_encoding");
  EXPECT_EQ(CodeOf(WithHeader("Transfer-Encoding: identity")), "http.transfer_encoding");
  EXPECT_EQ(CodeOf(WithHeader("Transfer-Encoding: chunked, chunked")), "http.transfer_encoding");
  EXPECT_EQ(CodeOf(WithHeader("Transfer-Encoding: \x0b"
                              "chunked")),
            "http.header_value");
  EXPECT_EQ(CodeOf(WithHeader("Transfer-Encoding: Chunked")), "ok");
  EXPECT_EQ(CodeOf("GET http://h/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"),
            "http.encoding_in_1_0");
  EXPECT_EQ(CodeOf(WithHeader("Host: h")), "http.host_twice");
  EXPECT_EQ(CodeOf("GET http://h/ HTTP/1.1\r\n\r\n"), "http.host_missing");
  EXPECT_EQ(CodeOf(WithHeader("Connection: content-length")), "http.connection");
  EXPECT_EQ(CodeOf(WithHeader("Connection: a b")), "http.connection");
  EXPECT_EQ(CodeOf(WithHeader("Expect: 200-ok")), "http.expect");
  EXPECT_EQ(CodeOf("\r\nGET / HTTP/1.1\r\n\r\n"), "http.leading_empty_line");
  for (const char* line : {"GET http://h/", "GET  http://h/ HTTP/1.1", "GET http://h/ x HTTP/1.1",
                           " GET http://h/ HTTP/1.1"})
    EXPECT_NE(CodeOf(std::string(line) + "\r\nHost: h\r\n\r\n"), "ok") << line;
  for (const char* version :
       {"HTTP/1.2", "HTTP/2.0", "HTTP/1.1 ", "http/1.1", "HTTP/11", "HTTP/1", "ICE/1.0"})
    EXPECT_NE(CodeOf(std::string("GET http://h/ ") + version + "\r\nHost: h\r\n\r\n"), "ok")
        << version;
  EXPECT_EQ(CodeOf("get http://h/ HTTP/1.1\r\nHost: h\r\n\r\n"), "http.method");
  EXPECT_EQ(CodeOf("GET http://h/\x80 HTTP/1.1\r\nHost: h\r\n\r\n"), "http.target");
}

TEST(HttpHead, HoldsItsLimits) {
  HeadLimits limits{200, 2};
  EXPECT_EQ(CodeOf("GET http://h/ HTTP/1.1\r\nHost: h\r\nA: 1\r\n\r\n", limits), "ok");
  EXPECT_EQ(CodeOf("GET http://h/ HTTP/1.1\r\nHost: h\r\nA: 1\r\nB: 1\r\n\r\n", limits),
            "http.too_many_headers");
  EXPECT_EQ(CodeOf("GET http://h/ HTTP/1.1\r\nHost: h\r\nA: " + std::string(300, 'a'), limits),
            "http.head_too_long");
}

TEST(HttpHead, ScansTheSameHoweverItArrives) {
  std::string head = WithHeader("A: b") + "rest";
  for (std::size_t cut = 0; cut <= head.size(); ++cut) {
    HeadScanner scanner(HeadLimits{});
    auto first = scanner.Scan(std::string_view(head).substr(0, cut));
    if (const auto* complete = std::get_if<HeadScanner::Complete>(&first)) {
      EXPECT_EQ(complete->bytes, head.size() - 4);
      continue;
    }
    auto second = scanner.Scan(head);
    ASSERT_TRUE(std::holds_alternative<HeadScanner::Complete>(second)) << cut;
    EXPECT_EQ(std::get<HeadScanner::Complete>(second).bytes, head.size() - 4);
  }
}

TEST(HttpHead, DropsHopByHopFieldsAndWhatConnectionNames) {
  auto parsed = ParseRequestHead(
      WithHeader(
          "Connection: close, X-Drop\r\nX-Drop: 1\r\nX-Keep: 2\r\nTE: trailers\r\nUpgrade: h2c\r\n"
          "Proxy-Authorization: Basic x\r\nKeep-Alive: 5\r\nTrailer: A\r\nProxy-Connection: close"),
      HeadLimits{});
  auto kept = EndToEndHeaders(std::get<RequestHead>(parsed).headers);
  ASSERT_EQ(kept.size(), 1u);
  EXPECT_EQ(kept[0].name, "X-Keep");
  EXPECT_FALSE(std::get<RequestHead>(parsed).keep_alive);
}

TEST(ResponseHead, KnowsWhenABodyFollows) {
  auto body = [](const std::string& head, std::string_view method) {
    auto parsed = ParseResponseHead(head, HeadLimits{}, method);
    return std::holds_alternative<ResponseHead>(parsed)
               ? static_cast<int>(std::get<ResponseHead>(parsed).body.kind)
               : -1;
  };
  using Kind = BodyFraming::Kind;
  EXPECT_EQ(body("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", "GET"),
            static_cast<int>(Kind::kLength));
  EXPECT_EQ(body("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", "HEAD"),
            static_cast<int>(Kind::kNone));
  EXPECT_EQ(body("HTTP/1.1 304 X\r\nContent-Length: 3\r\n\r\n", "GET"),
            static_cast<int>(Kind::kNone));
  EXPECT_EQ(body("HTTP/1.1 204\r\n\r\n", "GET"), static_cast<int>(Kind::kNone));
  EXPECT_EQ(body("HTTP/1.1 200 \r\n\r\n", "GET"), static_cast<int>(Kind::kUntilClose));
  EXPECT_EQ(body("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "GET"),
            static_cast<int>(Kind::kChunked));
  EXPECT_EQ(body("HTTP/1.1 204 X\r\nTransfer-Encoding: chunked\r\n\r\n", "GET"), -1);
  EXPECT_EQ(
      body("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", "GET"),
      -1);
  EXPECT_EQ(body("HTTP/1.1 2000 OK\r\n\r\n", "GET"), -1);
  EXPECT_EQ(body("HTTP/1.1 099 OK\r\n\r\n", "GET"), -1);
  EXPECT_EQ(body("HTTP/1.1  200 OK\r\n\r\n", "GET"), -1);
}

std::string ChunkResult(std::string_view input) {
  ChunkedDecoder decoder;
  std::string out;
  while (!input.empty()) {
    auto step = decoder.Next(input);
    if (step.refused) return "!" + std::string(step.refused->code);
    out.append(step.data);
    input.remove_prefix(step.consumed);
    if (step.done) return out + "|" + std::string(input);
  }
  return out + "...";
}

TEST(Chunked, ReadsWholeBodiesAndLeavesWhatFollows) {
  EXPECT_EQ(ChunkResult("5\r\nhello\r\n0\r\n\r\nGET"), "hello|GET");
  EXPECT_EQ(ChunkResult("005;a;b=c;d=\"e; \\\"f\"\r\nhello\r\n000\r\nT: 1\r\n\r\n"), "hello|");
  EXPECT_EQ(ChunkResult("5\r\nhel"), "hel...");
}

TEST(Chunked, RefusesAmbiguousShapes) {
  for (const char* bad : {"5\nhello\r\n0\r\n\r\n",
                          "5 \r\nhello",
                          " 5\r\nhello",
                          "+5\r\nhello",
                          "0x5\r\nhello",
                          "\r\nhello",
                          ";a\r\n",
                          "5;\r\nhello",
                          "5;a=\r\nhello",
                          "5;a=\"b\r\nhello",
                          "5\r\nhelloX\r\n",
                          "5\r\nhello\n0\r\n\r\n",
                          "5\r\nhello\rX",
                          "10000000000000000\r\n",
                          "fffffffffffffffff\r\n",
                          "5\rX",
                          "0\r\nbad trailer\r\n\r\n",
                          "0\r\n folded\r\n\r\n",
                          "0\r\n\n",
                          "-1\r\n"})
    EXPECT_EQ(ChunkResult(bad)[0], '!') << bad;
  EXPECT_EQ(ChunkResult("5;" + std::string(5000, 'a')), "!chunk.line_too_long");
  EXPECT_EQ(ChunkResult("0\r\nT: " + std::string(9000, 'a')), "!chunk.trailer_too_long");
}

TEST(Chunked, ReadsTheSameByteByByte) {
  std::string_view input = "5;x=\"y\"\r\nhello\r\na\r\n0123456789\r\n0\r\nT: 1\r\n\r\n";
  ChunkedDecoder decoder;
  std::string out;
  bool done = false;
  for (char c : input) {
    auto step = decoder.Next({&c, 1});
    ASSERT_FALSE(step.refused);
    ASSERT_EQ(step.consumed, 1u);
    out.append(step.data);
    done = step.done;
  }
  EXPECT_TRUE(done);
  EXPECT_EQ(out, "hello0123456789");
}

TEST(RequestTarget, TakesAbsoluteHttpAndAuthorityFormsOnly) {
  auto absolute = ParseAbsoluteTarget("HTTP://Example.com:8080?q=1");
  ASSERT_TRUE(std::holds_alternative<AbsoluteTarget>(absolute));
  EXPECT_EQ(std::get<AbsoluteTarget>(absolute).path_and_query, "/?q=1");
  EXPECT_EQ(std::get<AbsoluteTarget>(absolute).authority.port, 8080);
  for (const char* bad : {"/", "*", "https://h/", "ftp://h/", "http:/h/", "http:h", "http://",
                          "http:///x", "http://u@h/", "http://h:/", "http://h:0/",
                          "http://h:65536/", "http://h:080/", "http://h:80x/", "http://h/#f",
                          "http://h\\@e/", "http://[::1/", "http://[::1]x/", "http://h:80:80/"})
    EXPECT_TRUE(std::holds_alternative<HttpRefusal>(ParseAbsoluteTarget(bad))) << bad;
  EXPECT_TRUE(std::holds_alternative<AuthorityParts>(ParseConnectTarget("[::1]:443")));
  for (const char* bad :
       {"h", "h:", "h:443/", "http://h:443", "u@h:443", ":443", "h:443?x", "h h:1"})
    EXPECT_TRUE(std::holds_alternative<HttpRefusal>(ParseConnectTarget(bad))) << bad;
}

TEST(ClientHello, FindsTheServerNameOverRecordsAndSegments) {  // L23
  std::string hello = test::MakeClientHello("api.example.com");
  // The same message cut into records of three bytes.
  std::string cut;
  for (std::size_t at = 5; at < hello.size(); at += 3) {
    std::string piece = hello.substr(at, 3);
    cut += std::string("\x16\x03\x01\x00", 4) + static_cast<char>(piece.size()) + piece;
  }
  for (const std::string& bytes : {hello, cut}) {
    ClientHelloReader reader;
    for (std::size_t n = 0; n < bytes.size(); ++n)
      ASSERT_EQ(reader.Read(std::string_view(bytes).substr(0, n)),
                ClientHelloReader::State::kNeedMore)
          << n;
    ASSERT_EQ(reader.Read(bytes), ClientHelloReader::State::kComplete);
    EXPECT_EQ(reader.hello().sni, "api.example.com");
    EXPECT_FALSE(reader.hello().encrypted_hello);
  }
}

TEST(ClientHello, TellsTlsFromEverythingElseAtOnce) {
  for (const char* bytes :
       {"G", "SSH-2.0", "\x17\x03\x03", "\x16\x02", "\x16\x03\x09", "\x80\x2e\x01"}) {
    ClientHelloReader reader;
    EXPECT_EQ(reader.Read(bytes), ClientHelloReader::State::kNotTls) << bytes;
  }
  std::string server_hello = test::MakeClientHello("a.example");
  server_hello[5] = 2;
  ClientHelloReader reader;
  EXPECT_EQ(reader.Read(server_hello), ClientHelloReader::State::kNotTls);
}

TEST(ClientHello, RefusesDamagedAndDoubleNames) {
  std::string hello = test::MakeClientHello("a.example.com");
  for (std::size_t at = 5; at < hello.size(); ++at) {  // no flip crashes; lengths are checked
    std::string damaged = hello;
    damaged[at] = static_cast<char>(damaged[at] ^ 0xff);
    ClientHelloReader reader;
    (void)reader.Read(damaged);
  }
  ClientHelloReader oversized;
  EXPECT_EQ(oversized.Read(std::string("\x16\x03\x01\x00\x04\x01\xff\xff\xff", 9)),
            ClientHelloReader::State::kNotTls);
}

// The notation of the test data: newlines are CRLF, a backslash before one joins lines, escapes are
// bytes.
std::string Expand(const std::string& text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\n') {
      out += "\r\n";
    } else if (text[i] != '\\' || i + 1 == text.size()) {
      out += text[i];
    } else if (text[i + 1] >= '0' && text[i + 1] <= '7') {
      int value = 0;
      int digits = 0;
      while (digits < 3 && i + 1 < text.size() && text[i + 1] >= '0' && text[i + 1] <= '7') {
        value = value * 8 + text[++i] - '0';
        ++digits;
      }
      out += static_cast<char>(value);
    } else {
      char c = text[++i];
      if (c == '\n') continue;
      out += c == 'r' ? '\r' : c == 'n' ? '\n' : c == 't' ? '\t' : c == 'f' ? '\f' : c;
    }
  }
  return out;
}

struct Reading {
  std::string code = "ok";  // of the first refusal
  bool closed = false;      // a message said that it was the last one
};

// What the proxy would make of these bytes: message after message.
Reading ReadAll(std::string_view bytes) {
  Reading reading;
  while (!bytes.empty()) {
    HeadScanner scanner(HeadLimits{});
    auto found = scanner.Scan(bytes);
    if (const auto* refused = std::get_if<HttpRefusal>(&found))
      return {std::string(refused->code), reading.closed};
    const auto* complete = std::get_if<HeadScanner::Complete>(&found);
    if (complete == nullptr) return {"incomplete", reading.closed};
    auto parsed = ParseRequestHead(bytes.substr(0, complete->bytes), HeadLimits{});
    if (const auto* refused = std::get_if<HttpRefusal>(&parsed))
      return {std::string(refused->code), reading.closed};
    const RequestHead& head = std::get<RequestHead>(parsed);
    bytes.remove_prefix(complete->bytes);
    if (head.method == "CONNECT") return reading;
    if (head.body.kind == BodyFraming::Kind::kLength) {
      bytes.remove_prefix(std::min<std::size_t>(bytes.size(), head.body.length));
    } else if (head.body.kind == BodyFraming::Kind::kChunked) {
      ChunkedDecoder decoder;
      for (bool done = false; !done && !bytes.empty();) {
        auto step = decoder.Next(bytes);
        if (step.refused) return {std::string(step.refused->code), reading.closed};
        bytes.remove_prefix(step.consumed);
        done = step.done;
      }
    }
    if (!head.keep_alive) return {"ok", true};  // nothing after it is ever read
  }
  return reading;
}

// Why we refuse what that parser takes.
const std::map<std::string, std::string>& StrictReasons() {
  static const std::map<std::string, std::string> reasons = {
      {"http.host_missing", "RFC 9112 section 3.2: HTTP/1.1 without Host is an error"},
      {"http.leading_empty_line",
       "tolerating empty lines before a message hides a body of wrong length"},
      {"http.target", "a target with bytes outside visible ASCII"},
      {"http.version", "only HTTP/1.0 and HTTP/1.1 are spoken"},
      {"http.method", "methods are upper-case tokens"},
      {"http.request_line", "a line with other than two single spaces"},
      {"http.header_value", "control characters in a value"},
      {"http.header_name", "a header without a token name"},
      {"http.transfer_encoding", "only exactly `chunked` is understood"},
      {"http.length_with_encoding", "two lengths"},
      {"http.conflicting_length", "two lengths"},
      {"http.content_length", "not plain digits"},
      {"http.connection", "Connection options must be tokens"},
      {"http.obs_fold", "folded lines"},
      {"http.bare_lf", "LF without CR"},
      {"http.space_before_colon", "white space before the colon"},
      {"http.expect", "no expectation but 100-continue"},
      {"incomplete", "the case ends inside a message"},
      {"chunk.size", "white space around a chunk size"},
      {"chunk.extension", "extensions without the strict grammar"},
  };
  return reasons;
}

TEST(HttpHead, RefusesWhatTheCasesOfLlhttpRefuse) {
  WRIT_REQUIRE_SHARED_TESTDATA("http1/llhttp-requests.json");
  auto text = ReadFile(writ::test::SharedDir() + "/testdata/http1/llhttp-requests.json", 8u << 20);
  ASSERT_TRUE(text);
  auto document = json::Parse(*text);
  ASSERT_TRUE(document);
  int rejected = 0;
  int taken = 0;
  for (const json::Value& c : document->Find("cases")->array()) {
    const std::string& name = c.Find("name")->string();
    std::string bytes = Expand(c.Find("http")->string());
    Reading reading = ReadAll(bytes);
    if (reading.code == "http.host_missing") {
      // Most cases there have no Host: see what else is in them.
      bytes.insert(bytes.find("\r\n") + 2, "Host: h\r\n");
      reading = ReadAll(bytes);
    }
    if (*c.Find("rejected")->if_bool()) {
      ++rejected;
      // Data behind `Connection: close` is refused there and never read here.
      EXPECT_TRUE(reading.code != "ok" || reading.closed) << name;
    } else if (reading.code == "ok") {
      ++taken;
    } else {
      EXPECT_TRUE(StrictReasons().contains(reading.code)) << name << ": " << reading.code;
    }
  }
  EXPECT_EQ(rejected, 30);
  EXPECT_GE(taken, 9);
}

}  // namespace
}  // namespace writ::egress
