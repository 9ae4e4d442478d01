#include "bmc_emu/firmware/store.h"

namespace bmcpair::firmware {

Result<std::vector<std::pair<uint32_t, Bytes>>> MemoryStore::load(std::string_view table) {
  std::vector<std::pair<uint32_t, Bytes>> rows;
  if (auto found = tables_.find(table); found != tables_.end()) rows.assign(found->second.begin(), found->second.end());
  return rows;
}

Status MemoryStore::commit(const Batch& batch) {
  for (const auto& table : batch.clear_tables) tables_.erase(table);
  for (const auto& [table, key] : batch.erase) {
    if (auto found = tables_.find(table); found != tables_.end()) found->second.erase(key);
  }
  for (const auto& put : batch.put) tables_[put.table].insert_or_assign(put.key, put.value);
  return {};
}

}  // namespace bmcpair::firmware
