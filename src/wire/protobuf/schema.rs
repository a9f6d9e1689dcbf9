//! The protobuf messages of the client protocol, as prost reads and writes them.
//!
//! Numbers and types only; [`super`] turns them into the frames of the program. Fields of
//! still newer schemas are passed over by prost. Source: the official JS protobuf add-on's and
//! emulator's schemas; the reference pages of the protobuf subprotocols for streams (fields 13 and 14 up, 6 to 8 down).

use std::collections::BTreeMap;

/// Client to hub.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct UpstreamMessage {
    #[prost(oneof = "Request", tags = "1, 5, 6, 7, 8, 9, 13, 14")]
    pub(super) request: Option<Request>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum Request {
    #[prost(message, tag = "1")]
    SendToGroup(SendToGroup),
    #[prost(message, tag = "5")]
    Event(Event),
    #[prost(message, tag = "6")]
    JoinGroup(Membership),
    #[prost(message, tag = "7")]
    LeaveGroup(Membership),
    #[prost(message, tag = "8")]
    SequenceAck(SequenceAck),
    #[prost(message, tag = "9")]
    Ping(Empty),
    #[prost(message, tag = "13")]
    StreamData(StreamData),
    #[prost(message, tag = "14")]
    StreamEnd(StreamEnd),
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct SendToGroup {
    #[prost(string, tag = "1")]
    pub(super) group: String,
    #[prost(uint64, optional, tag = "2")]
    pub(super) ack_id: Option<u64>,
    #[prost(message, optional, tag = "3")]
    pub(super) data: Option<MessageData>,
    #[prost(bool, optional, tag = "4")]
    pub(super) no_echo: Option<bool>,
    #[prost(uint32, optional, tag = "5")]
    pub(super) ttl_seconds: Option<u32>,
    #[prost(btree_map = "string, string", tag = "6")]
    pub(super) metadata: BTreeMap<String, String>,
    #[prost(message, optional, tag = "7")]
    pub(super) stream: Option<Stream>,
}

/// Present on a send that opens a stream.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Stream {
    #[prost(string, tag = "1")]
    pub(super) stream_id: String,
    #[prost(uint32, optional, tag = "2")]
    pub(super) idle_timeout_ms: Option<u32>,
}

/// One part of a stream; the id alone keeps the stream alive.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct StreamData {
    #[prost(string, tag = "1")]
    pub(super) stream_id: String,
    #[prost(uint64, optional, tag = "2")]
    pub(super) stream_sequence_id: Option<u64>,
    #[prost(message, optional, tag = "3")]
    pub(super) data: Option<MessageData>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct StreamEnd {
    #[prost(string, tag = "1")]
    pub(super) stream_id: String,
    #[prost(message, optional, tag = "2")]
    pub(super) error: Option<StreamEndError>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct StreamEndError {
    #[prost(string, optional, tag = "1")]
    pub(super) message: Option<String>,
    #[prost(string, optional, tag = "2")]
    pub(super) user_error_code: Option<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Event {
    #[prost(string, tag = "1")]
    pub(super) event: String,
    #[prost(message, optional, tag = "2")]
    pub(super) data: Option<MessageData>,
    #[prost(uint64, optional, tag = "3")]
    pub(super) ack_id: Option<u64>,
    #[prost(btree_map = "string, string", tag = "4")]
    pub(super) metadata: BTreeMap<String, String>,
}

/// A join or a leave.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Membership {
    #[prost(string, tag = "1")]
    pub(super) group: String,
    #[prost(uint64, optional, tag = "2")]
    pub(super) ack_id: Option<u64>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct SequenceAck {
    #[prost(uint64, tag = "1")]
    pub(super) sequence_id: u64,
}

/// A ping or a pong.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Empty {}

/// Hub to client.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct DownstreamMessage {
    #[prost(oneof = "Answer", tags = "1, 2, 3, 4, 6, 7, 8")]
    pub(super) answer: Option<Answer>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum Answer {
    #[prost(message, tag = "1")]
    Ack(AckMessage),
    #[prost(message, tag = "2")]
    Data(DataMessage),
    #[prost(message, tag = "3")]
    System(SystemMessage),
    #[prost(message, tag = "4")]
    Pong(Empty),
    #[prost(message, tag = "6")]
    StreamAck(StreamAck),
    #[prost(message, tag = "7")]
    StreamNack(StreamNack),
    #[prost(message, tag = "8")]
    StreamClosed(StreamClosed),
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct StreamAck {
    #[prost(string, tag = "1")]
    pub(super) stream_id: String,
    #[prost(uint64, tag = "2")]
    pub(super) expected_sequence_id: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct StreamNack {
    #[prost(string, tag = "1")]
    pub(super) stream_id: String,
    #[prost(string, tag = "2")]
    pub(super) name: String,
    #[prost(string, tag = "3")]
    pub(super) message: String,
    #[prost(uint64, tag = "4")]
    pub(super) expected_sequence_id: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct StreamClosed {
    #[prost(string, tag = "1")]
    pub(super) stream_id: String,
    #[prost(message, optional, tag = "2")]
    pub(super) error: Option<ErrorMessage>,
}

/// Which part of which stream a data message is.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct StreamInfo {
    #[prost(string, tag = "1")]
    pub(super) stream_id: String,
    #[prost(uint64, tag = "2")]
    pub(super) stream_sequence_id: u64,
    #[prost(bool, optional, tag = "3")]
    pub(super) end_of_stream: Option<bool>,
    #[prost(message, optional, tag = "4")]
    pub(super) error: Option<StreamFault>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct StreamFault {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) message: String,
    #[prost(string, tag = "3")]
    pub(super) user_error_code: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct AckMessage {
    #[prost(uint64, tag = "1")]
    pub(super) ack_id: u64,
    #[prost(bool, tag = "2")]
    pub(super) success: bool,
    #[prost(message, optional, tag = "3")]
    pub(super) error: Option<ErrorMessage>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ErrorMessage {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) message: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct DataMessage {
    #[prost(string, tag = "1")]
    pub(super) from: String,
    #[prost(string, optional, tag = "2")]
    pub(super) group: Option<String>,
    #[prost(message, optional, tag = "3")]
    pub(super) data: Option<MessageData>,
    #[prost(uint64, optional, tag = "4")]
    pub(super) sequence_id: Option<u64>,
    #[prost(btree_map = "string, string", tag = "5")]
    pub(super) metadata: BTreeMap<String, String>,
    #[prost(message, optional, boxed, tag = "6")]
    pub(super) stream: Option<Box<StreamInfo>>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct SystemMessage {
    #[prost(oneof = "System", tags = "1, 2")]
    pub(super) system: Option<System>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum System {
    #[prost(message, tag = "1")]
    Connected(ConnectedMessage),
    #[prost(message, tag = "2")]
    Disconnected(DisconnectedMessage),
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ConnectedMessage {
    #[prost(string, tag = "1")]
    pub(super) connection_id: String,
    #[prost(string, tag = "2")]
    pub(super) user_id: String,
    #[prost(string, optional, tag = "3")]
    pub(super) reconnection_token: Option<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct DisconnectedMessage {
    /// Field 2 in every schema; there is no field 1.
    #[prost(string, tag = "2")]
    pub(super) reason: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct MessageData {
    #[prost(oneof = "Payload", tags = "1, 2, 3, 4")]
    pub(super) payload: Option<Payload>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum Payload {
    #[prost(string, tag = "1")]
    Text(String),
    #[prost(bytes, tag = "2")]
    Binary(Vec<u8>),
    /// A `google.protobuf.Any`. On the wire a message and bytes are the same; bytes keep it
    /// exactly as it came.
    #[prost(bytes, tag = "3")]
    Protobuf(Vec<u8>),
    #[prost(string, tag = "4")]
    Json(String),
}

/// `google.protobuf.Any`, to see whether bytes are one.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Any {
    #[prost(string, tag = "1")]
    pub(super) type_url: String,
    #[prost(bytes, tag = "2")]
    pub(super) value: Vec<u8>,
}
