#include "writ/backends/microvm/entry_words.h"

#include <utility>

#include "status_wire.h"

namespace writ::backends::microvm {
namespace {

using launch::Reader;
using launch::Writer;

constexpr std::uint64_t kMaxSignal = 64;
constexpr std::uint64_t kMaxErrno = 4095;
constexpr std::uint64_t kMaxSize = 0xffff;

Error NoWord() {
  return Error{ErrorKind::kInvalid, "microvm.message", "a message is not what was agreed"};
}

struct HostBody {
  Writer& out;
  void operator()(const EntryOrder& order) const {
    out.Text(launch::EncodeEntryRequest(order.request));
  }
  void operator()(const EntrySignal& word) const {
    out.Number(static_cast<std::uint64_t>(word.signal));
  }
  void operator()(const EntryResize& word) const {
    out.Number(word.size.rows);
    out.Number(word.size.columns);
  }
};

struct GuestBody {
  Writer& out;
  void operator()(const EntryStarted&) const {}
  void operator()(const EntryFailed& failed) const {
    out.Text(failed.stage);
    out.Number(static_cast<std::uint64_t>(failed.err));
  }
  void operator()(const EntryEnded& ended) const {
    out.Number(ended.status ? 1 : 0);
    if (ended.status) PutStatus(out, *ended.status);
    out.Number(ended.out_bytes);
    out.Number(ended.err_bytes);
  }
};

}  // namespace

std::string Encode(const EntryHostWord& word) {
  Writer out;
  out.Number(word.index());
  std::visit(HostBody{out}, word);
  return out.Take();
}

std::string Encode(const EntryGuestWord& word) {
  Writer out;
  out.Number(word.index());
  std::visit(GuestBody{out}, word);
  return out.Take();
}

Result<EntryHostWord> DecodeEntryHostWord(std::string_view bytes) {
  Reader in(bytes);
  EntryHostWord word;
  switch (in.NumberAtMost(std::variant_size_v<EntryHostWord> - 1)) {
    case 0: {
      auto request = launch::DecodeEntryRequest(in.Text());
      if (!request) return std::move(request).error();
      word = EntryOrder{std::move(request).value()};
      break;
    }
    case 1: {
      const auto signal = static_cast<int>(in.NumberAtMost(kMaxSignal));
      if (signal == 0) in.Fail();
      word = EntrySignal{signal};
      break;
    }
    default: {
      EntryResize resize;
      resize.size.rows = static_cast<std::uint16_t>(in.NumberAtMost(kMaxSize));
      resize.size.columns = static_cast<std::uint16_t>(in.NumberAtMost(kMaxSize));
      word = resize;
    }
  }
  if (!in.AtEnd()) return NoWord();
  return word;
}

Result<EntryGuestWord> DecodeEntryGuestWord(std::string_view bytes) {
  Reader in(bytes);
  EntryGuestWord word;
  switch (in.NumberAtMost(std::variant_size_v<EntryGuestWord> - 1)) {
    case 0:
      break;
    case 1: {
      EntryFailed failed;
      failed.stage = in.Text();
      failed.err = static_cast<int>(in.NumberAtMost(kMaxErrno));
      word = std::move(failed);
      break;
    }
    default: {
      EntryEnded ended;
      if (in.NumberAtMost(1) == 1) ended.status = TakeStatus(in);
      if (ended.status && ended.status->signal > static_cast<int>(kMaxSignal)) in.Fail();
      ended.out_bytes = in.Number();
      ended.err_bytes = in.Number();
      word = ended;
    }
  }
  if (!in.AtEnd()) return NoWord();
  return word;
}

}  // namespace writ::backends::microvm
