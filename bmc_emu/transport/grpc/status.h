// Our errors as gRPC statuses.
#pragma once

#include <grpcpp/support/status.h>

#include "proto/base/result.h"

namespace bmcpair::transport {

inline grpc::Status to_grpc(const Error& error) {
  grpc::StatusCode code = grpc::StatusCode::INTERNAL;
  switch (error.code) {
    case ErrorCode::kInvalidArgument:
    case ErrorCode::kProtocol: code = grpc::StatusCode::INVALID_ARGUMENT; break;
    case ErrorCode::kNotFound: code = grpc::StatusCode::NOT_FOUND; break;
    case ErrorCode::kAlreadyExists: code = grpc::StatusCode::ALREADY_EXISTS; break;
    case ErrorCode::kBusy: code = grpc::StatusCode::FAILED_PRECONDITION; break;
    case ErrorCode::kUnavailable:
    case ErrorCode::kHosed:
    case ErrorCode::kShutdown: code = grpc::StatusCode::UNAVAILABLE; break;
    case ErrorCode::kTimeout: code = grpc::StatusCode::DEADLINE_EXCEEDED; break;
    case ErrorCode::kLimit: code = grpc::StatusCode::RESOURCE_EXHAUSTED; break;
    case ErrorCode::kCorrupt: code = grpc::StatusCode::DATA_LOSS; break;
    case ErrorCode::kPermission: code = grpc::StatusCode::PERMISSION_DENIED; break;
    case ErrorCode::kNotSupported: code = grpc::StatusCode::UNIMPLEMENTED; break;
    case ErrorCode::kIo:
    case ErrorCode::kInternal: break;
  }
  return {code, error.to_string()};
}

}  // namespace bmcpair::transport
