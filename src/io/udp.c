/* Opening, receiving, closing. One multishot receive with its own group of buffers, each large enough for what GRO puts
   together. The kernel's records wait in a queue until udp_receive reads them one by one; a buffer goes back to the
   kernel with udp_release. When the receive ends, for want of buffers or by an error that an ICMP message brought, it
   is armed again before the next submission. */
#include "io/udp.h"

#include <errno.h>
#include <netinet/udp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/must.h"
#include "io/udp_priv.h"

enum {
  NAME_BYTES = 32, /* a sockaddr_in6, and the control data after it aligned */
  CONTROL_BYTES = 64,
  RECEIVE_HEADER_BYTES = 16 + NAME_BYTES + CONTROL_BYTES, /* 16: struct io_uring_recvmsg_out */
  RECEIVE_BYTES = 65536 + 192,
};

static_assert(RECEIVE_BYTES >= RECEIVE_HEADER_BYTES + DATAGRAM_BYTES_MAX, "what GRO can put together fits");
static_assert(RECEIVE_BYTES % 64 == 0 && NAME_BYTES >= sizeof(struct sockaddr_in6), "aligned buffers, names fit");
static_assert(CONTROL_BYTES >= UDP_PACKET_INFO_BYTES + CMSG_SPACE(sizeof(int)), "packet info and the segment size fit");

/* --- receiving --- */

static void lend(struct udp *udp, uint16_t id) {
  ring_group_lend(&udp->group, udp->memory + (size_t)id * RECEIVE_BYTES, RECEIVE_BYTES, id);
  udp->lent++;
}

static void receive_complete(struct ring_op *op, int32_t result, uint32_t flags) {
  struct udp *udp = container_of(op, struct udp, receive);
  int32_t id = ring_buffer_id(flags);
  if (id >= 0) {
    must(udp->lent > 0 && udp->received_count < UDP_RECEIVE_BUFFERS);
    udp->lent--;
    uint32_t at = (udp->received_first + udp->received_count++) % UDP_RECEIVE_BUFFERS;
    udp->received[at] = (struct udp_received){.id = (uint16_t)id, .result = result};
  }
  if (result == -ENOBUFS) {
    udp->counters.out_of_buffers++;
    ring_note_out_of_buffers(udp->ring);
  }
  udp->refused = udp->refused || result == -ECONNREFUSED;
}

static void receive_arm(struct ring_hook *hook) {
  struct udp *udp = container_of(hook, struct udp, arm);
  udp_listen(udp); /* its worker begins when all are open */
  if (udp->receive.inflight == 0 && udp->lent > 0)
    ring_recvmsg_multishot(udp->ring, &udp->receive, udp->fd, &udp->receive_message, udp->group.id);
}

static void read_packet_info(struct udp *udp, const struct cmsghdr *header, const uint8_t *data,
                             struct udp_train *train) {
  uint16_t port = htons(address_port(&udp->local));
  if (header->cmsg_level == IPPROTO_IP && udp->family == AF_INET) {
    struct in_pktinfo info;
    memcpy(&info, data, sizeof info);
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = port, .sin_addr = info.ipi_addr};
    address_set(&train->local, (const struct sockaddr *)(const void *)&v4, sizeof v4);
  } else if (header->cmsg_level == IPPROTO_IPV6) {
    struct in6_pktinfo info;
    memcpy(&info, data, sizeof info);
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = port, .sin6_addr = info.ipi6_addr};
    if (IN6_IS_ADDR_LINKLOCAL(&info.ipi6_addr))
      v6.sin6_scope_id = info.ipi6_ifindex;
    address_set(&train->local, (const struct sockaddr *)(const void *)&v6, sizeof v6);
  }
}

static void read_control(struct udp *udp, const struct ring_message *message, struct udp_train *train) {
  size_t at = 0;
  while (at + sizeof(struct cmsghdr) <= message->control_len) {
    struct cmsghdr header;
    memcpy(&header, message->control + at, sizeof header);
    const uint8_t *data = message->control + at + CMSG_LEN(0);
    if (header.cmsg_len < CMSG_LEN(0) || header.cmsg_len > message->control_len - at)
      return;
    size_t len = header.cmsg_len - CMSG_LEN(0);
    if (header.cmsg_level == SOL_UDP && header.cmsg_type == UDP_GRO && len >= sizeof(int)) {
      int segment = 0;
      memcpy(&segment, data, sizeof segment);
      if (segment > 0 && (size_t)segment < train->len)
        train->segment_bytes = (size_t)segment;
    } else if ((header.cmsg_level == IPPROTO_IP && header.cmsg_type == IP_PKTINFO &&
                len >= sizeof(struct in_pktinfo)) ||
               (header.cmsg_level == IPPROTO_IPV6 && header.cmsg_type == IPV6_PKTINFO &&
                len >= sizeof(struct in6_pktinfo))) {
      read_packet_info(udp, &header, data, train);
    }
    at += CMSG_ALIGN(header.cmsg_len);
  }
}

/* False: nothing to show, an error or a datagram without content. */
static bool read_train(struct udp *udp, const struct udp_received *received, struct udp_train *train) {
  struct ring_message message;
  uint8_t *buffer = udp->memory + (size_t)received->id * RECEIVE_BYTES;
  if (received->result < 0 || !ring_message_read(buffer, received->result, &udp->receive_message, &message))
    return false;
  udp->counters.trains_received++;
  udp->counters.bytes_received += message.payload_len;
  if ((message.flags & MSG_TRUNC) != 0) {
    udp->counters.truncated++;
    return false;
  }
  *train = (struct udp_train){.data = message.payload, .len = message.payload_len, .local = udp->local};
  train->segment_bytes = train->len;
  if (udp->connected)
    train->remote = udp->remote;
  else
    address_set(&train->remote, (const struct sockaddr *)(const void *)message.name, (socklen_t)message.name_len);
  read_control(udp, &message, train);
  udp->counters.datagrams_received +=
      train->len == 0 ? 1 : (train->len + train->segment_bytes - 1) / train->segment_bytes;
  return train->len > 0;
}

bool udp_receive(struct udp *udp, struct udp_train *train) {
  must(!udp->closed && udp->held < 0);
  while (udp->received_count > 0) {
    struct udp_received received = udp->received[udp->received_first];
    udp->received_first = (udp->received_first + 1) % UDP_RECEIVE_BUFFERS;
    udp->received_count--;
    if (read_train(udp, &received, train)) {
      udp->held = received.id;
      return true;
    }
    lend(udp, received.id);
  }
  return false;
}

void udp_release(struct udp *udp) {
  must(udp->held >= 0);
  if (!udp->closed)
    lend(udp, (uint16_t)udp->held);
  udp->held = -1;
}

bool udp_refused(struct udp *udp) {
  bool refused = udp->refused;
  udp->refused = false;
  return refused;
}

/* --- opening and closing --- */

static bool memory_open(struct udp *udp) {
  size_t receive_bytes = (size_t)UDP_RECEIVE_BUFFERS * RECEIVE_BYTES;
  size_t send_bytes = (size_t)UDP_SEND_BUFFERS * CHUNK_LARGE_BYTES;
  size_t piece_bytes = (size_t)UDP_SEND_BUFFERS * UDP_PIECES_MAX * sizeof(struct udp_piece);
  static_assert(TRAIN_BYTES_MAX <= CHUNK_LARGE_BYTES, "a train fits a send buffer");
  udp->memory_bytes = receive_bytes + send_bytes + piece_bytes;
  void *memory = mmap(NULL, udp->memory_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED)
    return false;
  madvise(memory, udp->memory_bytes, MADV_HUGEPAGE); /* fewer TLB misses; where it is off, it is off */
  udp->memory = memory;
  udp_slots_init(udp, udp->memory + receive_bytes,
                 (struct udp_piece *)(void *)(udp->memory + receive_bytes + send_bytes));
  return true;
}

enum err udp_open(struct udp **out, struct ring *ring, const struct udp_config *config, char *reason,
                  size_t reason_size) {
  const char *what = "allocate memory for";
  struct udp *udp = calloc(1, sizeof *udp);
  if (udp == NULL)
    goto failed;
  udp->ring = ring;
  udp->held = -1;
  udp->receive.complete = receive_complete;
  udp->fd = udp_socket(udp, config, &what);
  if (udp->fd < 0)
    goto free_udp;
  what = "allocate buffers for";
  if (!memory_open(udp))
    goto close_fd;
  what = "register buffers for";
  if (!ring_group_open(ring, &udp->group, UDP_RECEIVE_BUFFERS))
    goto unmap;
  for (uint16_t id = 0; id < UDP_RECEIVE_BUFFERS; id++)
    lend(udp, id);
  udp->receive_message.msg_namelen = udp->connected ? 0 : NAME_BYTES;
  udp->receive_message.msg_controllen = CONTROL_BYTES;
  udp->arm.run = receive_arm;
  ring_hook_add(ring, &udp->arm);
  *out = udp;
  return ERR_OK;

unmap:
  munmap(udp->memory, udp->memory_bytes);
close_fd:;
  int error = errno;
  close(udp->fd);
  errno = error;
free_udp:
  free(udp);
failed:;
  char text[ADDRESS_TEXT_MAX];
  const struct address *address = config->connect.len > 0 ? &config->connect : &config->bind;
  snprintf(reason, reason_size, "cannot %s UDP %s: %s", what, address_text(address, text), strerror(errno));
  return ERR_SYSTEM;
}

static bool udp_corpse_bury(struct ring_corpse *corpse) {
  struct udp *udp = container_of(corpse, struct udp, corpse);
  bool busy = udp->receive.inflight > 0;
  for (size_t i = 0; i < UDP_SEND_BUFFERS; i++)
    busy = busy || udp->slots[i].op.inflight > 0;
  if (busy)
    return false;
  close(udp->fd);
  ring_group_close(udp->ring, &udp->group);
  munmap(udp->memory, udp->memory_bytes);
  free(udp);
  return true;
}

/* Trains that are prepared and not yet submitted still go out: the cancellation comes after them in the queue. Whoever
   still looks at a received train may release it until udp_bury. */
void udp_close(struct udp *udp) {
  if (udp == NULL)
    return;
  must(!udp->closed);
  udp->closed = true;
  list_remove(&udp->arm.node);
  ring_cancel(udp->ring, &udp->receive);
  for (size_t i = 0; i < UDP_SEND_BUFFERS; i++)
    ring_cancel(udp->ring, &udp->slots[i].op);
  udp->corpse.bury = udp_corpse_bury;
  ring_corpse_add(udp->ring, &udp->corpse);
}

void udp_bury(struct ring *ring) { ring_bury(ring); }

struct address udp_local(const struct udp *udp) {
  return udp->local;
}
uint64_t udp_receive_buffer_granted(const struct udp *udp) { return udp->receive_granted; }
uint64_t udp_send_buffer_granted(const struct udp *udp) { return udp->send_granted; }
bool udp_gso(const struct udp *udp) { return udp->gso; }
bool udp_gro(const struct udp *udp) { return udp->gro; }
const struct udp_counters *udp_counters(const struct udp *udp) { return &udp->counters; }
