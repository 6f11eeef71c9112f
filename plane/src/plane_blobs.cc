// Blobs of a plane, whole and in pieces, and which of them a run made.
#include <sys/stat.h>

#include "claim_access.h"
#include "writ/protocol/digest.h"

namespace writ::plane {

Status Plane::AuthenticateClaim(std::string_view claim_token) const {
  WRIT_ASSIGN([[maybe_unused]] auto facts, OpenClaimToken(*impl_, claim_token));
  return {};
}

Result<std::unique_ptr<Plane::BlobWriter>> Plane::NewBlob() {
  return impl_->blobs.NewBlob();
}

Result<std::string> Plane::PutBlob(std::string_view bytes) {
  WRIT_ASSIGN(auto blob, impl_->blobs.NewBlob());
  WRIT_TRY(blob->Append(bytes));
  return blob->Finish("");
}

Result<Plane::Blob> Plane::OpenBlob(const std::string& hash) const {
  // Kept first: one that is opened is still there when somebody names it.
  WRIT_ASSIGN([[maybe_unused]] bool kept, impl_->blobs.Keep(hash));
  return impl_->blobs.OpenBlob(hash);
}

void Plane::QuarantineBlob(const std::string& hash) {
  impl_->blobs.Quarantine(hash);
}

Result<PieceAnswer> Plane::PutBlobPiece(std::string_view claim_token, const BlobPiece& piece) {
  WRIT_ASSIGN(auto facts, OpenClaimToken(*impl_, claim_token));
  return impl_->parts.Append(facts.run_id, piece, impl_->blobs, impl_->clock.Now());
}

Result<std::uint64_t> Plane::BlobPartBytes(std::string_view claim_token,
                                           const std::string& hash) const {
  WRIT_ASSIGN(auto facts, OpenClaimToken(*impl_, claim_token));
  return impl_->parts.Offset(facts.run_id, hash);
}

Result<std::vector<ArtifactInfo>> Plane::Artifacts(const std::string& run_id) const {
  namespace events = protocol::events;
  struct Facts {
    std::vector<std::string> texts;
    bool pruned = false;
  };
  WRIT_ASSIGN(Facts facts, impl_->store->Read([&](store::Database& db) -> Result<Facts> {
    Facts out;
    WRIT_ASSIGN(auto pruned,
                db.Number("SELECT artifacts_pruned FROM runs WHERE run_id = ?", run_id));
    if (!pruned) return RunNotFound();
    out.pruned = *pruned != 0;
    WRIT_ASSIGN(out.texts, EventTexts(db, run_id));
    return out;
  }));
  std::vector<ArtifactInfo> out;
  for (const std::string& text : facts.texts) {
    WRIT_ASSIGN(json::Value value, json::Parse(text));
    const json::Value* event = value.Find("event");
    if (event == nullptr) continue;
    const auto word = [&](std::string_view name) {
      return std::string(event->FindString(name).value_or(""));
    };
    const std::string type = word("type");
    if (type == events::kArtifactCreated) {
      ArtifactInfo info{.kind = word("kind"),
                        .hash = word("hash"),
                        .bytes = {},
                        .path = word("path"),
                        .data_class = "",
                        .pruned = false};
      const json::Value* bytes = event->Find("bytes");
      const auto number = bytes != nullptr ? bytes->AsInteger() : std::nullopt;
      if (number && *number >= 0) info.bytes = static_cast<std::uint64_t>(*number);
      out.push_back(std::move(info));
    } else if (type == events::kBoundaryCrossed && word("direction") == "out" && !out.empty() &&
               out.back().hash == word("contentHash")) {
      out.back().data_class = word("dataClass");
    }
  }
  for (ArtifactInfo& info : out) {
    auto blob = impl_->blobs.OpenBlob(info.hash);  // a look is no use of it
    if (blob && !info.bytes) info.bytes = blob->bytes;
    info.pruned = !blob && facts.pruned && !info.data_class.empty();
  }
  return out;
}

}  // namespace writ::plane
