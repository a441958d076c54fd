/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A VM as the library's user holds it. One thread at a time, but for signal, resize, stop and kill, which may come from any thread
 * while another waits: the lock is for them, and is never held while something blocks.
 */
#include "sandbox/vm.h"
#include "sandbox/caller.h"

#include <pthread.h>
#include <stdlib.h>

struct msb_vm {
    struct spec spec;
    struct warnings warnings;
    struct vm_stdio stdio;
    int exit_status; /* -1: none yet */
    char *kernel_log;
    pthread_mutex_t lock;
    struct monitor_handle monitor; /* what the lock guards: it comes with spawn and goes with wait */
};

msb_vm *vm_new(struct spec *spec, struct warnings *warnings, const struct vm_stdio *stdio, msb_error **err)
{
    msb_vm *vm = calloc(1, sizeof(*vm));

    if (!vm) {
        spec_clear(spec);
        warnings_clear(warnings);
        return FAIL_NULL(fail(err, MSB_ERR_NO_MEMORY, "out of memory"));
    }
    *vm = (msb_vm){
        .spec = *spec,
        .warnings = *warnings,
        .stdio = *stdio,
        .exit_status = -1,
        .lock = PTHREAD_MUTEX_INITIALIZER,
        .monitor = { -1, -1 },
    };
    *spec = (struct spec){ 0 };
    *warnings = (struct warnings){ 0 };
    return vm;
}

const char *msb_vm_warning(const msb_vm *vm, size_t index)
{
    return index < vm->warnings.count ? vm->warnings.items[index] : NULL;
}

char *msb_vm_to_json(const msb_vm *vm, msb_error **err)
{
    return spec_to_json(&vm->spec, &vm->warnings, err);
}

/* ---- Start and end -------------------------------------------------------------------------------------------------------------- */

int msb_vm_spawn(msb_vm *vm, msb_error **err)
{
    struct monitor_handle monitor = { -1, -1 };

    if (vm->monitor.socket >= 0)
        return fail(err, MSB_ERR_STATE, "the VM is running already");
    vm->exit_status = -1;
    free(vm->kernel_log);
    vm->kernel_log = NULL;
    if (monitor_start(&vm->spec, &vm->stdio, &monitor, err) < 0)
        return -1;
    pthread_mutex_lock(&vm->lock);
    vm->monitor = monitor;
    pthread_mutex_unlock(&vm->lock);
    return 0;
}

int msb_vm_fd(const msb_vm *vm)
{
    return vm->monitor.pidfd;
}

int msb_vm_wait(msb_vm *vm, msb_error **err)
{
    struct monitor_handle monitor = vm->monitor;
    struct monitor_result ended;
    int result;

    if (monitor.socket < 0)
        return fail(err, MSB_ERR_STATE, "the VM is not running");
    if (monitor_await(&monitor, err) < 0)
        return -1;
    /* From here on nobody sends to descriptors that are about to be closed. */
    pthread_mutex_lock(&vm->lock);
    vm->monitor = (struct monitor_handle){ -1, -1 };
    pthread_mutex_unlock(&vm->lock);
    result = monitor_collect(&monitor, &ended, err);
    vm->exit_status = ended.status;
    vm->kernel_log = ended.kernel_log;
    return result < 0 ? -1 : ended.status;
}

int msb_vm_start(msb_vm *vm, msb_error **err)
{
    return msb_vm_spawn(vm, err) < 0 ? -1 : msb_vm_wait(vm, err);
}

int msb_vm_exit_status(const msb_vm *vm)
{
    return vm->exit_status;
}

const char *msb_vm_kernel_log(const msb_vm *vm)
{
    return vm->kernel_log && *vm->kernel_log ? vm->kernel_log : NULL;
}

void msb_vm_free(msb_vm *vm)
{
    if (!vm)
        return;
    if (vm->monitor.socket >= 0) {
        msb_vm_kill(vm, NULL);
        msb_vm_wait(vm, NULL);
    }
    spec_clear(&vm->spec);
    warnings_clear(&vm->warnings);
    free(vm->kernel_log);
    pthread_mutex_destroy(&vm->lock);
    free(vm);
}

/* ---- While it runs ---------------------------------------------------------------------------------------------------------------- */

static int send_to(msb_vm *vm, enum control type, struct writer *body, msb_error **err)
{
    int result;

    pthread_mutex_lock(&vm->lock);
    if (vm->monitor.socket < 0)
        result = fail(err, MSB_ERR_STATE, "the VM is not running");
    else if (body->failed)
        result = fail(err, MSB_ERR_NO_MEMORY, "out of memory");
    else
        result = monitor_send(&vm->monitor, type, body->data, (uint32_t)body->size, err);
    pthread_mutex_unlock(&vm->lock);
    free(body->data);
    return result;
}

int msb_vm_signal(msb_vm *vm, int signal, msb_error **err)
{
    struct writer body = { 0 };

    if (signal < 1 || signal > 64)
        return fail(err, MSB_ERR_INVALID, "signal \"%d\" is none of Linux's, which are 1 to 64", signal);
    put_u8(&body, (uint8_t)signal);
    return send_to(vm, CONTROL_SIGNAL, &body, err);
}

int msb_vm_resize(msb_vm *vm, uint16_t rows, uint16_t columns, msb_error **err)
{
    struct writer body = { 0 };

    put_u16(&body, rows);
    put_u16(&body, columns);
    return send_to(vm, CONTROL_RESIZE, &body, err);
}

int msb_vm_stop(msb_vm *vm, unsigned timeout_ms, msb_error **err)
{
    struct writer body = { 0 };

    put_u32(&body, timeout_ms);
    return send_to(vm, CONTROL_STOP, &body, err);
}

int msb_vm_kill(msb_vm *vm, msb_error **err)
{
    struct writer body = { 0 };

    return send_to(vm, CONTROL_KILL, &body, err);
}
