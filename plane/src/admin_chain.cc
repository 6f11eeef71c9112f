#include "admin_chain.h"

namespace writ::plane {

protocol::Digest AdminGenesis(std::string_view plane_key_id) {
  return protocol::HashValue(json::Object{{"chain", "admin"}, {"planeKeyId", plane_key_id}});
}

Result<protocol::ChainHead> AdminHead(store::Database& db, std::string_view plane_key_id) {
  WRIT_ASSIGN(auto last, db.Ask("SELECT seq, ts, hash FROM admin_chain ORDER BY seq DESC LIMIT 1"));
  WRIT_ASSIGN(bool any, last.Next());
  protocol::ChainHead head;
  head.head = AdminGenesis(plane_key_id);
  if (!any) return head;
  head.next_seq = static_cast<std::uint64_t>(last.Int(0)) + 1;
  head.last_ts = WallTime{last.Int(1)};
  WRIT_ASSIGN(head.head, protocol::Digest::Parse(last.Text(2)));
  return head;
}

Status AppendAdminEntry(store::Database& db, std::string_view plane_key_id, WallTime now,
                        std::string_view type, std::string_view actor, json::Object fields) {
  WRIT_ASSIGN(auto head, AdminHead(db, plane_key_id));
  protocol::EventChain chain(head);
  json::Object event{{"type", type}, {"actor", actor}};
  for (const auto& member : fields) event.Set(member.name, member.value);
  auto entry = chain.Append(now, std::move(event));
  WRIT_TRY(db.Do("INSERT INTO admin_chain (seq, ts, hash, body) VALUES (?,?,?,?)",
                 static_cast<std::int64_t>(entry.seq), entry.ts.unix_ms, entry.hash.ToHex(),
                 json::Write(entry.ToJson())));
  return {};
}

}  // namespace writ::plane
