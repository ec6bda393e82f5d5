/* Sending. Trains that complete inline, as nearly all do, complete in the order of their submission; a full socket
   buffer may let a later one overtake, which QUIC takes as reordering. Nobody waits for a train to be sent, except for
   the last free slot: all others are sent quietly.

   GSO may be refused at run time: EIO without checksum offload, EINVAL by some drivers; but EINVAL also when a segment
   is larger than the path allows. Therefore the refused train is sent again split, and when a single datagram is too
   large as well (EMSGSIZE), the size was at fault and GSO stays. */
#include <errno.h>
#include <netinet/udp.h>
#include <string.h>

#include "base/log.h"
#include "base/must.h"
#include "io/udp_priv.h"

enum { FAILING_SENDS = 2 };

static void put_control(uint8_t *at, int level, int type, const void *data, size_t len) {
  struct cmsghdr header = {.cmsg_len = CMSG_LEN(len), .cmsg_level = level, .cmsg_type = type};
  memset(at, 0, CMSG_SPACE(len));
  memcpy(at, &header, sizeof header);
  memcpy(at + CMSG_LEN(0), data, len);
}

/* Names the source address; the kernel chooses the interface, except for link-local addresses. */
static size_t put_packet_info(uint8_t *at, const struct address *local) {
  if (address_family(local) == AF_INET6) {
    struct sockaddr_in6 v6;
    memcpy(&v6, local->bytes, sizeof v6);
    struct in6_pktinfo info = {.ipi6_addr = v6.sin6_addr, .ipi6_ifindex = v6.sin6_scope_id};
    put_control(at, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof info);
    return CMSG_SPACE(sizeof info);
  }
  struct sockaddr_in v4;
  memcpy(&v4, local->bytes, sizeof v4);
  struct in_pktinfo info = {.ipi_spec_dst = v4.sin_addr};
  put_control(at, IPPROTO_IP, IP_PKTINFO, &info, sizeof info);
  return CMSG_SPACE(sizeof info);
}

static void send_piece(struct udp_slot *slot, struct udp_piece *piece, size_t len) {
  struct udp *udp = slot->udp;
  bool train = len > slot->segment_bytes;
  size_t control_bytes = slot->info_bytes + (train ? UDP_SEGMENT_BYTES : 0);
  piece->iov = (struct iovec){.iov_base = slot->buffer + slot->offset, .iov_len = len};
  piece->message = (struct msghdr){.msg_iov = &piece->iov, .msg_iovlen = 1};
  if (!udp->connected) {
    piece->message.msg_name = slot->remote.bytes;
    piece->message.msg_namelen = slot->remote.len;
  }
  if (control_bytes > 0) {
    piece->message.msg_control = slot->control + (train ? 0 : UDP_SEGMENT_BYTES);
    piece->message.msg_controllen = control_bytes;
  }
  slot->offset += len;
  bool whole = slot->offset == slot->len && len == slot->len - slot->batch_offset;
  if (whole && !slot->loud && !list_empty(&udp->free_slots) &&
      ring_sendmsg_quiet(udp->ring, &slot->op, udp->fd, &piece->message, (uint32_t)len))
    return;
  ring_sendmsg(udp->ring, &slot->op, udp->fd, &piece->message);
}

static void send_batch(struct udp_slot *slot) {
  must(slot->op.inflight == 0 && slot->offset < slot->len);
  slot->again = false;
  slot->gso = slot->udp->gso && !slot->split;
  slot->batch_offset = slot->offset;
  size_t most = slot->segment_bytes * (slot->gso ? TRAIN_SEGMENTS_MAX : 1);
  for (int i = 0; i < UDP_PIECES_MAX && slot->offset < slot->len; i++) {
    size_t left = slot->len - slot->offset;
    send_piece(slot, &slot->pieces[i], left < most ? left : most);
  }
}

static void note_result(struct udp_slot *slot, int32_t result) {
  struct udp *udp = slot->udp;
  if (result >= 0) {
    udp->failing = 0;
    udp->counters.bytes_sent += (uint32_t)result;
    udp->counters.datagrams_sent += ((size_t)result + slot->segment_bytes - 1) / slot->segment_bytes;
    return;
  }
  if (result == -EAGAIN && !slot->loud) {
    slot->loud = true;
    slot->offset = slot->batch_offset;
    return;
  }
  bool trains = slot->gso && slot->len - slot->batch_offset > slot->segment_bytes;
  if ((result == -EIO || result == -EINVAL) && trains) {
    slot->again = true;
    udp->gso = false;
    return;
  }
  if (result == -EMSGSIZE && slot->split) {
    slot->split = false;
    udp->gso = true;
  }
  udp->refused = udp->refused || result == -ECONNREFUSED;
  if (result != -ECONNREFUSED && result != -EMSGSIZE && udp->failing < UINT32_MAX)
    udp->failing++;
  udp->counters.send_errors++;
}

static void send_over(struct udp_slot *slot) {
  struct udp *udp = slot->udp;
  if (slot->split && !udp->gso_told) {
    udp->gso_told = true;
    log_warn("the kernel or the network card refuses UDP segmentation offload (GSO): sending single datagrams");
  }
  list_push_front(&udp->free_slots, &slot->node); /* the latest is in the cache */
}

static void send_complete(struct ring_op *op, int32_t result, uint32_t flags) {
  (void)flags;
  struct udp_slot *slot = container_of(op, struct udp_slot, op);
  note_result(slot, result);
  if (op->inflight > 0 || slot->udp->closed)
    return;
  if (slot->again) {
    slot->split = true;
    slot->offset = slot->batch_offset;
  }
  if (slot->offset < slot->len)
    send_batch(slot);
  else
    send_over(slot);
}

void udp_slots_init(struct udp *udp, uint8_t *buffers, struct udp_piece *pieces) {
  list_init(&udp->free_slots);
  for (size_t i = 0; i < UDP_SEND_BUFFERS; i++) {
    struct udp_slot *slot = &udp->slots[i];
    slot->udp = udp;
    slot->buffer = buffers + i * CHUNK_LARGE_BYTES;
    slot->pieces = pieces + i * UDP_PIECES_MAX;
    slot->op.complete = send_complete;
    list_init(&slot->node);
    list_push(&udp->free_slots, &slot->node);
  }
}

bool udp_failing(const struct udp *udp) { return udp->failing >= FAILING_SENDS; }

uint8_t *udp_send_buffer(struct udp *udp) {
  must(!udp->closed);
  if (udp->current == NULL) {
    struct list *node = list_pop(&udp->free_slots);
    if (node == NULL)
      return NULL;
    udp->current = container_of(node, struct udp_slot, node);
  }
  return udp->current->buffer;
}

bool udp_can_send(const struct udp *udp) { return udp->current != NULL || !list_empty(&udp->free_slots); }

void udp_send(struct udp *udp, const struct address *local, const struct address *remote, size_t len,
              size_t segment_bytes) {
  struct udp_slot *slot = udp->current;
  must(!udp->closed && slot != NULL);
  must(len > 0 && len <= TRAIN_BYTES_MAX && segment_bytes > 0);
  udp->current = NULL;
  slot->len = len;
  slot->segment_bytes = segment_bytes < len ? segment_bytes : len;
  slot->offset = 0;
  slot->split = slot->loud = false;
  slot->info_bytes = 0;
  if (!udp->connected) {
    slot->remote = *remote;
    if (udp->family == AF_INET6)
      address_map_to_v6(&slot->remote);
    if (udp->wildcard && local != NULL && local->len > 0)
      slot->info_bytes = put_packet_info(slot->control + UDP_SEGMENT_BYTES, local);
  }
  if (len > slot->segment_bytes) {
    uint16_t segment = (uint16_t)slot->segment_bytes;
    put_control(slot->control, SOL_UDP, UDP_SEGMENT, &segment, sizeof segment);
  }
  udp->counters.trains_sent++;
  send_batch(slot);
}
