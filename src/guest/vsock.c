/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/vsock.h"

#include "util/cleanup.h"

#include <linux/vm_sockets.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

/* Linux gives up after 2 s, which a busy host may well need; ours is there, or the whole VM is not. */
static const struct timeval connect_timeout = { .tv_sec = 3600 };

int vsock_connect(uint32_t port, bool blocking, msb_error **err)
{
    struct sockaddr_vm address = { .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_HOST, .svm_port = port };
    _cleanup_fd_ int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC | (blocking ? 0 : SOCK_NONBLOCK), 0);

    if (fd < 0)
        return fail_errno(err, "make a vsock socket: does the guest kernel have vmw_vsock_virtio_transport?");
    setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_CONNECT_TIMEOUT, &connect_timeout, sizeof(connect_timeout));
    if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 && (blocking || errno != EINPROGRESS))
        return fail_errno(err, "connect to the host's vsock port %u", port);
    return steal_fd(&fd);
}
